"""The order in which rows are trained on: a function of seed, rows and step, whoever loads them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from libmoe.data.order import Groups, alike, dealt, shuffled


@dataclass(frozen=True)
class BatchShape:
    """How a step's samples are split: ``micro`` at a time on each of ``ranks``, ``accumulation`` times."""

    micro: int
    ranks: int
    accumulation: int

    @property
    def samples(self) -> int:
        """Samples of one optimizer step (the global batch)."""
        return self.micro * self.ranks * self.accumulation


class EpochSampler(Sampler[int]):
    """Row numbers of one epoch, a whole number of optimizer steps long; the last step is filled with repeats.

    Consecutive runs of ``shape.samples`` numbers are a step, in it runs of ``micro * ranks`` a round (what
    all ranks compute at the same time), in it runs of ``micro`` what one rank computes.

    Args:
        rows: numbers of the rows to train on.
        groups: of these rows; makes the rows of a step alike. None: steps are drawn at random.
        cost: of these rows; makes the micro batches of a step cost about the same. None: rows are not dealt.
    """

    def __init__(
        self,
        rows: np.ndarray,
        shape: BatchShape,
        seed: int,
        groups: Groups | None = None,
        cost: np.ndarray | None = None,
    ) -> None:
        self._rows = rows
        self._shape = shape
        self._seed = seed
        self._groups = groups
        self._cost = cost
        self._epoch = 0

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return -(-len(self._rows) // self._shape.samples)

    def start_at(self, step: int) -> None:
        """Makes the next iteration that of the epoch which optimizer step ``step`` lies in."""
        self._epoch = step // self.steps

    def __len__(self) -> int:
        return self.steps * self._shape.samples

    def __iter__(self) -> Iterator[int]:
        # RandomState's stream is frozen; that of numpy's newer Generator may change with a release.
        bits = np.random.MT19937(np.random.SeedSequence([self._seed, self._epoch]))
        random = np.random.RandomState(bits)
        samples = self._shape.samples
        if self._groups is None:
            steps = shuffled(random, len(self._rows), samples)
        else:
            steps = alike(random, self._groups, samples)
        if self._cost is not None:
            steps = dealt(steps, self._cost, self._shape.micro)
        return iter(self._rows[steps.ravel()].tolist())

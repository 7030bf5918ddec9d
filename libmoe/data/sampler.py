"""The order in which rows are trained on: a function of the seed and the step, whoever loads them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

_POOL_ROUNDS = 64
"""Rows of this many rounds are sorted by length together: similar lengths, still a new mix each epoch."""


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


@dataclass(frozen=True)
class Groups:
    """What batches are made alike in, one entry a row: whether it has an image, and how long it is."""

    has_image: np.ndarray
    length: np.ndarray


class EpochSampler(Sampler[int]):
    """Row numbers of one epoch, a whole number of optimizer steps long; rows at its end are repeats.

    Consecutive runs of ``micro`` numbers are what one rank computes at a time, consecutive runs of
    ``micro * ranks`` are a round: what all ranks compute at the same time. With ``groups``, every micro batch
    holds rows of one kind and of similar length, and so does every round but for at most two an epoch.
    """

    def __init__(self, rows: int, shape: BatchShape, seed: int, groups: Groups | None) -> None:
        self._rows = rows
        self._shape = shape
        self._seed = seed
        self._groups = groups
        self._epoch = 0

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        if self._groups is None:
            return -(-self._rows // self._shape.samples)
        kinds = (self._groups.has_image.sum(), (~self._groups.has_image).sum())
        micro_batches = sum(-(-int(rows) // self._shape.micro) for rows in kinds)
        return -(-micro_batches // (self._shape.ranks * self._shape.accumulation))

    def start_at(self, step: int) -> None:
        """Makes the next iteration that of the epoch which optimizer step ``step`` lies in."""
        self._epoch = step // self.steps

    def __len__(self) -> int:
        return self.steps * self._shape.samples

    def __iter__(self) -> Iterator[int]:
        # RandomState's stream is frozen; that of numpy's newer Generator may change with a release.
        bits = np.random.MT19937(np.random.SeedSequence([self._seed, self._epoch]))
        random = np.random.RandomState(bits)
        order = random.permutation(self._rows) if self._groups is None else self._grouped(random)
        return iter(np.resize(order, len(self)).tolist())

    def _grouped(self, random: np.random.RandomState) -> np.ndarray:
        assert self._groups is not None
        rounds, rest = [], []
        for kind in (True, False):
            members = random.permutation(np.flatnonzero(self._groups.has_image == kind))
            micro_batches = self._alike(members)  # (micro batches, micro)
            full = len(micro_batches) // self._shape.ranks * self._shape.ranks
            rounds.append(micro_batches[:full].reshape(-1, self._shape.ranks, self._shape.micro))
            rest.append(micro_batches[full:])
        left = np.concatenate([*rest, *(r.reshape(-1, self._shape.micro) for r in rounds)])
        mixed = -(-sum(map(len, rest)) // self._shape.ranks)
        shape = (mixed, self._shape.ranks, self._shape.micro)
        return random.permutation(np.concatenate([*rounds, np.resize(left, shape)])).ravel()

    def _alike(self, members: np.ndarray) -> np.ndarray:
        """Micro batches of similar length, the last filled up with repeats: (micro batches, micro)."""
        assert self._groups is not None
        micro = self._shape.micro
        members = np.resize(members, -(-len(members) // micro) * micro)
        pool = _POOL_ROUNDS * micro * self._shape.ranks
        pools = [members[start : start + pool] for start in range(0, len(members), pool)]
        ordered = [rows[np.argsort(self._groups.length[rows], kind="stable")] for rows in pools]
        return np.concatenate([members[:0], *ordered]).reshape(-1, micro)

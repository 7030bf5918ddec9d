"""A process that trains a step when it is its turn, so that several share a machine's good and bad hours.

Whoever measures holds the other end: it says "go", and is told what the step was and how long it took.
"""

import resource
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from libmoe.config.run import RunSpec
from libmoe.data.collator import BatchFacts
from libmoe.train.utilization import utilization


@dataclass(frozen=True)
class Step:
    """What one step held and took. ``memory``: the process's peak so far beyond its libraries, in bytes."""

    seconds: float
    tokens: int
    """Without padding."""
    images: int
    memory: int
    mfu: float | None


class Turns:
    """The training process's end. A turn lasts from the beginning of a step to that of the next.

    Args:
        libraries: bytes that the process held before there was a model.
    """

    def __init__(self, spec: RunSpec, line: Connection, libraries: int) -> None:
        self._line = line
        self._on_gpu = spec.world.device == "cuda"
        self._utilization = utilization(spec)
        self._libraries = libraries
        self._start: float | None = None
        self._heard: list[BatchFacts] = []

    def hear(self, facts: BatchFacts) -> None:
        """A micro batch is about to be computed."""
        self._heard.append(facts)

    def next(self) -> None:
        """Tells of the step that is over, if one is, and waits for the next turn."""
        if self._on_gpu:
            torch.cuda.synchronize()
        if self._start is not None:
            self._line.send(self._step(time.perf_counter() - self._start))
        try:
            self._line.recv()
        except EOFError:
            sys.exit(0)
        self._start = time.perf_counter()

    def _step(self, seconds: float) -> Step:
        tokens = sum(facts.tokens for facts in self._heard)
        pairs = sum(facts.pairs for facts in self._heard)
        images = sum(facts.images for facts in self._heard)
        self._heard.clear()
        utilization = self._utilization
        mfu = None if utilization is None else utilization.share(tokens, pairs, images, seconds)
        memory = torch.cuda.max_memory_allocated() if self._on_gpu else host_memory() - self._libraries
        return Step(seconds, tokens, images, memory, mfu)


def host_memory() -> int:
    """Bytes of this process at its peak."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

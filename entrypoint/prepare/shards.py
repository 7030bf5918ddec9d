"""One selection prepared by several machines on a shared volume, each its share of the artifacts."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from entrypoint.catalog.schema import Artifact
from entrypoint.shard import Shard
from entrypoint.volume import Volume
from libmoe.config.errors import TryAgainError

_PATIENCE_SECONDS = 10.0


def pick(artifacts: Sequence[Artifact], share: Shard) -> tuple[Artifact, ...]:
    """A share of the artifacts: all who ask with the same ones get the same shares, about equally large."""
    sizes = [0] * share.of
    mine: set[str] = set()
    for unit in _units(artifacts):
        lightest = sizes.index(min(sizes))
        sizes[lightest] += _weight(unit)
        if lightest == share.number:
            mine.update(artifact.name for artifact in unit)
    return tuple(artifact for artifact in artifacts if artifact.name in mine)


@contextlib.contextmanager
def right_to_write(volume: Volume, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """The right to write on a volume; for a share, beside the other shares of the same number.

    A share takes its own lock first and then looks for a holder of the whole; a prepare without a share takes
    the whole and then looks for shares: of two that start at once, at most one goes on.

    Args:
        wait: for the others to end; is told who they are.

    Raises:
        TryAgainError: somebody else works there, and we do not wait; says who, where and since when.
    """
    told = ""
    while True:
        with volume.lock(wait):
            rival = _rival(volume)
            if rival is None:
                yield
                return
        if wait is None:
            raise rival
        if str(rival) != told:
            told = str(rival)
            wait(told)
        time.sleep(random.uniform(0.5, 1.0))


def _rival(volume: Volume) -> TryAgainError | None:
    """Who works there and must not beside us; nobody is waited for while we hold a lock ourselves."""
    try:
        if volume.share:
            _pass(replace(volume, share=None))
        for other in volume.shares():
            if not _beside(volume.share, other.share):
                with other.lock():
                    pass
    except TryAgainError as rival:
        return rival
    return None


def _beside(one: Shard | None, other: Shard | None) -> bool:
    """Whether both may work at once: shares of the same number may, and the lock keeps each to itself."""
    return one is not None and other is not None and one.of == other.of


def _pass(whole: Volume) -> None:
    """Other shares look here too, each for a moment: that is no reason to leave."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with whole.lock():
                return
        except TryAgainError:
            if time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.05, 0.2))


def _units(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
    """What must stay together, the largest first: images by URL go with the annotations that use them."""
    alone = [[a] for a in artifacts if a.kind != "images"]
    for pictures in (a for a in artifacts if a.kind == "images"):
        users = [unit for unit in alone if any(a.kind == "annotations" for a in unit)]
        alone = [unit for unit in alone if unit not in users]
        alone.append([pictures, *(a for unit in users for a in unit)])
    return sorted(alone, key=lambda unit: (-_weight(unit), unit[0].name))


def _weight(unit: Sequence[Artifact]) -> int:
    return sum(a.expected_size or a.unpacked or 0 for a in unit)

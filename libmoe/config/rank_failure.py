"""What a rank that fails leaves for the command that started it: a cause, an exit code and one sentence."""

import json
import time
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Self

from libmoe.config.whole_files import write_whole


class Cause(IntEnum):
    """Why ranks ended, from effects to causes: of two reasons, the later one here explains the other."""

    LOST_RANK = 1
    """A rank could not reach another any more."""
    LOST_NODE = 2
    HUNG = 3
    KILLED = 4
    INTERRUPTED = 5
    FAILED = 6
    """A rank knows what went wrong."""


@dataclass(frozen=True)
class RankFailure:
    """One rank's, in ``<run>/failures/rank-<rank>.json``; ``time`` is in seconds since the epoch."""

    cause: Cause
    exit_code: int
    message: str
    time: float = field(default_factory=time.time, compare=False)

    def write(self, run_dir: Path, rank: int) -> None:
        """Writes the file, whole or not at all.

        Raises:
            OSError: it cannot be written, as where the disk is full.
        """
        path = _path(run_dir, rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({**asdict(self), "cause": self.cause.name}) + "\n")

    @classmethod
    def read(cls, run_dir: Path, rank: int) -> Self | None:
        """The inverse of `write`; None where the rank has left none."""
        path = _path(run_dir, rank)
        if not path.is_file():
            return None
        fields = json.loads(path.read_text())
        return cls(**{**fields, "cause": Cause[fields["cause"]]})

    @staticmethod
    def forget(run_dir: Path, rank: int) -> None:
        """Removes what the rank has left in an earlier attempt."""
        _path(run_dir, rank).unlink(missing_ok=True)


def _path(run_dir: Path, rank: int) -> Path:
    return run_dir / "failures" / f"rank-{rank}.json"

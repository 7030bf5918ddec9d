"""How often a stage may start again by itself."""

from collections.abc import Callable
from pathlib import Path

from entrypoint.launch.ranks.verdict import RanksLostError
from entrypoint.launch.resume import checkpoints


class Restarts:
    """At most ``most`` in a row without a new checkpoint; a run that makes progress may always restart."""

    def __init__(self, most: int, run_dir: Path) -> None:
        self._most = most
        self._run_dir = run_dir
        self._used = 0
        self._newest = self._newest_step()

    def use(self, lost: RanksLostError, say: Callable[[str], None]) -> None:
        """Says that the stage starts again.

        Raises:
            RanksLostError: the same, as none is left.
        """
        newest = self._newest_step()
        if newest > self._newest:
            self._newest, self._used = newest, 0
        if self._used == self._most:
            raise lost
        self._used += 1
        say(f"{lost} Restart {self._used} of {self._most} since the last checkpoint, from step {newest}.")

    def _newest_step(self) -> int:
        return max(checkpoints(self._run_dir), default=0)

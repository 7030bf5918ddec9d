"""The ranks of this node as processes: started, signalled, and ended with all that they started."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from libmoe.config.run import RunSpec

_LAST_WORDS_SECONDS = 5


class Crew:
    """Rank ``first`` to ``first + processes - 1``; every one leads a session of its own."""

    def __init__(
        self,
        spec: RunSpec,
        first: int,
        environment: Mapping[str, str],
        log: IO[bytes],
        say: Callable[[str], None],
    ) -> None:
        """Starts them; ``say`` gets the progress lines of rank 0, if it is here."""
        self.ended: dict[int, int] = {}
        """Exit code (below 0: the signal) of each rank that has ended by itself, the first to end first."""
        self._dismissed = False
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for local in range(spec.world.processes):
            rank = first + local
            self._processes[rank] = subprocess.Popen(
                rank_command(spec.run_dir),
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(local)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if rank == 0 else log,
                stderr=log,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._pass_on, args=(say,), name="progress lines", daemon=True)
        self._reader.start()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._reader.join(_LAST_WORDS_SECONDS)

    @property
    def running(self) -> list[int]:
        """The ranks that have not ended; also notices who has."""
        return [rank for rank, process in self._processes.items() if not self._has_ended(rank, process)]

    def ask_to_stop(self) -> None:
        """Tells the ranks to save and end."""
        self._signal(signal.SIGTERM)

    def dump_stacks(self) -> None:
        """Every rank writes the stacks of its threads to the log, whatever it is stuck in."""
        self._signal(signal.SIGUSR1)

    def kill(self) -> None:
        """Ends the ranks that are left, and their children, at once."""
        self._dismissed = True
        for rank, process in self._processes.items():
            if not self._has_ended(rank, process):
                _kill_session(process.pid)
                process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for rank in self.running:
            self._processes[rank].send_signal(number)

    def _has_ended(self, rank: int, process: subprocess.Popen[bytes]) -> bool:
        if process.returncode is None:
            if not _is_over(process.pid):
                return False
            _kill_session(process.pid)  # before its number can be given again: what a killed rank left behind
            code = process.wait()
            if not self._dismissed:
                self.ended[rank] = code
        return True

    def _pass_on(self, say: Callable[[str], None]) -> None:
        lines = self._processes[0].stdout if 0 in self._processes else None
        for line in lines or ():
            say(line.decode(errors="replace").rstrip("\n"))


def rank_command(run_dir: Path) -> list[str]:
    """What a rank runs."""
    return [sys.executable, "-m", "libmoe.train", str(run_dir / "run.json")]


def _is_over(pid: int) -> bool:
    """Whether a child has ended; it is left to be reaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_session(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)

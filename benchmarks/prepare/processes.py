"""Processes that are timed, and the folder in memory where they work."""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LIBMOE = [sys.executable, "-c", "from entrypoint.cli import main; main()"]
_PREFIX = "libmoe-bench-"


@dataclass(frozen=True)
class Run:
    """One process and all it started."""

    seconds: float
    cpu_seconds: float


def run(command: Sequence[str | Path], cwd: Path | None = None) -> Run:
    """Runs a command to its end; it must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        words = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(map(str, command))}\n{words.decode()}")
    return Run(seconds, usage.ru_utime + usage.ru_stime)


def walls(runs: Sequence[Run]) -> list[float]:
    """Wall time of each."""
    return [one.seconds for one in runs]


def seconds(runs: Sequence[Run]) -> float:
    """Median wall time."""
    return statistics.median(walls(runs))


def cpu(runs: Sequence[Run]) -> float:
    """Median CPU time."""
    return statistics.median(one.cpu_seconds for one in runs)


@contextmanager
def workshop() -> Iterator[Path]:
    """A folder in memory where there is one, so that no disk is measured; it goes away at the end."""
    shared = Path("/dev/shm")
    place = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    for left in place.glob(f"{_PREFIX}*"):
        if not Path("/proc", left.name.removeprefix(_PREFIX).partition("-")[0]).exists():
            shutil.rmtree(left)  # of one that was killed
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("Interrupted."))
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def require(*programs: str) -> None:
    """Says which peers are missing."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        sys.exit(f"Not installed: {', '.join(missing)}.")

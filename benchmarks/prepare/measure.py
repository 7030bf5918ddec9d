"""What the benchmarks of prepare share: processes timed in turn, medians of paired runs, one table."""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def paired(rounds: int, contenders: Mapping[str, Callable[[], Run]]) -> dict[str, list[Run]]:
    """Each contender once a round, the order turning, so that a busy moment hits none alone."""
    names = list(contenders)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            runs[name].append(contenders[name]())
    return runs


def ratio(runs: Mapping[str, Sequence[Run]], above: str, below: str) -> float:
    """The median over the rounds of one contender's time to another's."""
    return statistics.median(a.seconds / b.seconds for a, b in zip(runs[above], runs[below], strict=True))


def seconds(runs: Sequence[Run]) -> float:
    """Median wall time."""
    return statistics.median(one.seconds for one in runs)


def cpu(runs: Sequence[Run]) -> float:
    """Median CPU time."""
    return statistics.median(one.cpu_seconds for one in runs)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints Markdown."""
    print(f"### {title}\n")
    for line in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(_cell(value) for value in line)} |")
    print(flush=True)


def verdict(value: float, goal: float, at_least: bool) -> str:
    """A ratio beside its goal."""
    met = value >= goal if at_least else value <= goal
    return f"{value:.3g} (goal {'>=' if at_least else '<='} {goal:g}: {'met' if met else 'MISSED'})"


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


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)

"""kill -9 at seeded moments of a run that has an artifact of every kind, then the same command again.

``LIBMOE_KILLS=200`` for the long table; the usual number is small.
"""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from entrypoint.sample.hub import Answer, Request, Respond
from tests.entrypoint.prepare.conftest import World
from tests.entrypoint.prepare.every_kind import hidden, of_every_kind

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("LIBMOE_KILLS", "12"))
A_RUN = 3
"""Kills in a row before a run is let through."""
SECONDS_LOST = 2.0
"""Of transfer, at most, by a kill."""
BYTES_PER_SECOND = 150_000
"""Of a connection."""
CONNECTIONS = 2
SLACK = 500_000
"""Bytes that the server had sent into sockets, and files too small to be continued."""
ALL_SERVED = 1.0
AT_ONCE = 4
"""Chains of runs: they mostly wait."""


def throttled(respond: Respond) -> Respond:
    def answer(request: Request) -> Answer:
        found = respond(request)
        found.bytes_per_second = BYTES_PER_SECOND
        found.tamper = lambda offset, chunk: chunk
        return found

    return answer


@dataclass(frozen=True)
class Undisturbed:
    """What a run comes to that nobody kills."""

    tree: dict[str, bytes]
    hidden: set[str]
    size: int
    """Bytes of all there is to fetch."""


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> World:
    return of_every_kind(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def undisturbed(origin: World) -> Undisturbed:
    origin.start()
    assert origin.prepare().report.ready
    origin.stop()
    size = sum(path.stat().st_size for path in origin.served.rglob("*") if path.is_file())
    return Undisturbed(origin.tree(), hidden(origin), size)


class Meter:
    """How many bytes were served when."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: deque[tuple[float, int]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def in_the_last(self, seconds: float) -> int:
        now, served = time.monotonic(), self._world.hub.bytes_sent
        before = [count for at, count in list(self._seen) if at <= now - seconds]
        return served - (before[-1] if before else 0)

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self._seen.append((time.monotonic(), self._world.hub.bytes_sent))


def args(world: World) -> list[str]:
    return [
        "prepare",
        "--stage",
        "1",
        "--connections",
        str(CONNECTIONS),
        "--jobs",
        "2",
        "--mirror",
        world.hub.url,
    ]


def kill(process: "subprocess.Popen[str]", all_of_it: bool) -> None:
    """The process alone, whose aria2 and workers have to notice, or everything it started too."""
    alive = process.poll() is None
    started = psutil.Process(process.pid).children(recursive=True) if all_of_it and alive else []
    process.send_signal(signal.SIGKILL)
    for child in started:
        with contextlib.suppress(psutil.NoSuchProcess):  # some end with their parent
            child.kill()
    process.communicate()


def wait_for_moment(process: "subprocess.Popen[str]", world: World, served: float, seconds: float) -> bool:
    """Until so many bytes were served, and some time, at most a minute; False if it ended before."""
    until = None
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if until is None and world.hub.bytes_sent >= served:
            until = time.monotonic() + seconds
        if until is not None and time.monotonic() >= until:
            return True
        time.sleep(0.005)
    return process.poll() is None


def stamps(world: World) -> dict[str, tuple[int, int]]:
    root = world.volume.root
    found = ((name, root.joinpath(name).stat()) for name in world.tree())
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found}


def targets(world: World, done: set[str]) -> set[str]:
    """The paths at the hub of what is finished."""
    urls = [url for name in done for url in world.artifacts.get(name, {}).get("urls", [])]
    return {"/" + url.partition("://")[2] for url in urls}


@dataclass(frozen=True)
class Chain:
    """What was seen while a run was killed again and again, and after it was let through."""

    always_whole: bool
    """Whatever had its final name when a kill came."""
    code: int
    words: str
    tree: dict[str, bytes]
    hidden: set[str]
    written_again: set[str]
    """Files that were in place at the last kill."""
    fetched_again: set[str]
    """URLs of artifacts that had their receipt at the last kill."""
    served: int
    allowed: int


def chain(seed: int, folder: Path, origin: World, undisturbed: Undisturbed) -> Chain:
    world = World(folder)
    world.served, world.artifacts, world.stages = origin.served, origin.artifacts, origin.stages
    world.start(throttled)
    moments = random.Random(seed)
    allowed, always_whole = undisturbed.size + SLACK, True
    with Meter(world) as meter:
        for _ in range(A_RUN):
            process = world.command(*args(world))
            share = moments.uniform(0, 1.3)  # beyond the last byte: while it is unpacked, indexed, audited
            left = max(0, undisturbed.size - world.hub.bytes_sent)
            served = world.hub.bytes_sent + min(share, ALL_SERVED) * left
            killed = wait_for_moment(process, world, served, moments.uniform(0, 0.4 if share < 1 else 1.5))
            allowed += meter.in_the_last(SECONDS_LOST) + SLACK if killed else 0
            kill(process, all_of_it=moments.random() < 0.5)
            always_whole &= world.tree().items() <= undisturbed.tree.items()
            done = {name for name in world.artifacts if world.volume.receipt(name)}
            asked, stamped = len(world.hub.requests), stamps(world)
    code, _, words = world.run(*args(world))
    world.stop()
    after = stamps(world)
    return Chain(
        always_whole,
        code,
        words,
        world.tree(),
        hidden(world),
        {name for name, stamp in stamped.items() if after.get(name) != stamp},
        targets(world, done) & {request.target for request in world.hub.requests[asked:]},
        world.hub.bytes_sent,
        allowed,
    )


SEEDS = range(-(-KILLS // A_RUN))


@pytest.fixture(scope="module")
def chains(tmp_path_factory, origin: World, undisturbed: Undisturbed) -> Iterator[list[Future[Chain]]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        folders = [tmp_path_factory.mktemp("chain") for _ in SEEDS]
        yield [pool.submit(chain, seed, folders[seed], origin, undisturbed) for seed in SEEDS]


@pytest.mark.parametrize("seed", SEEDS)
def test_it_ends_as_an_undisturbed_run_does(
    chains: list[Future[Chain]], undisturbed: Undisturbed, seed: int
) -> None:
    seen = chains[seed].result()
    assert seen.always_whole
    assert seen.code == 0, seen.words
    assert seen.tree == undisturbed.tree
    assert seen.hidden == undisturbed.hidden
    assert not seen.written_again
    assert not seen.fetched_again
    assert seen.served <= seen.allowed

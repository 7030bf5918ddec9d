"""Several prepares on one volume at once, and times that say nothing."""

import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest

from entrypoint.prepare.transport.control import bytes_done
from tests.entrypoint.prepare.conftest import World, held, slowly
from tests.entrypoint.without_locks import without_locks
from tests.waiting import wait_for

LONG_AGO, FAR_AHEAD = 1, 4_102_444_800


@pytest.fixture
def opened() -> threading.Event:
    """From then on the hub gives what it is asked for."""
    return threading.Event()


@pytest.fixture
def slow(world: World, opened: threading.Event) -> World:
    """Takes until then to prepare."""
    world.add_set()
    world.start(held(opened))
    return world


def size_served(world: World) -> int:
    return sum(path.stat().st_size for path in world.served.rglob("*") if path.is_file())


def refused_locks(folder: Path) -> list[str]:
    """What a lock of either kind fails with."""
    found = []
    with (folder / "file").open("w") as file:
        for lock in (fcntl.flock, fcntl.lockf):
            try:
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                found.append(os.strerror(error.errno or 0))
    return found


class Racer:
    """A prepare and what it has said so far."""

    def __init__(self, world: World, *options: str) -> None:
        self._process = world.command("prepare", "--stage", "1", "--mirror", world.hub.url, *options)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def has_given_way(self) -> bool:
        """It has left, or waits."""
        return self._process.poll() is not None or any("waiting until" in line for line in self._lines)

    def end(self) -> tuple[int, str]:
        """Its exit code and its words."""
        self._reader.join(120)
        self._process.communicate(timeout=120)
        return self._process.returncode, "".join(self._lines)

    def _read(self) -> None:
        for line in self._process.stderr or ():
            self._lines.append(line)


def race(world: World, opened: threading.Event, count: int, *options: str) -> list[tuple[int, str]]:
    """So many at once; the one that works can end when the others have met it."""
    racers = [Racer(world, *options) for _ in range(count)]
    wait_for(lambda: sum(racer.has_given_way() for racer in racers) >= count - 1)
    opened.set()
    return [racer.end() for racer in racers]


@pytest.mark.parametrize("count", [2, 4])
def test_one_works_and_the_others_leave(slow: World, opened: threading.Event, count: int):
    ended = race(slow, opened, count)
    assert sorted(code for code, _ in ended) == [0, *[75] * (count - 1)], ended
    for code, words in ended:
        if code == 75:
            assert "is in use by process" in words.splitlines()[-1]
    assert slow.prepare().report.ready
    assert slow.hub.bytes_sent == size_served(slow)


def test_those_that_wait_find_it_done(slow: World, opened: threading.Event):
    count = 4
    ended = race(slow, opened, count, "--wait")
    assert [code for code, _ in ended] == [0] * count, ended
    waited = [words for _, words in ended if "waiting until it has ended" in words]
    assert len(waited) == count - 1
    assert all("up to date" in words for words in waited)
    assert slow.hub.bytes_sent == size_served(slow)


def test_one_works_also_where_no_file_can_be_locked(slow: World, opened: threading.Event, tmp_path: Path):
    def work() -> tuple[list[str], list[tuple[int, str]]]:
        return refused_locks(tmp_path), race(slow, opened, 4)

    refused, ended = without_locks(work)
    assert refused == ["No locks available"] * 2
    assert sorted(code for code, _ in ended) == [0, 75, 75, 75]
    assert slow.hub.bytes_sent == size_served(slow)
    assert refused_locks(tmp_path) == []


def test_a_killed_one_is_replaced_also_where_no_file_can_be_locked(slow: World, opened: threading.Event):
    def work() -> int:
        arguments = ["prepare", "--stage", "1", "--mirror", slow.hub.url]
        process = slow.command(*arguments)
        wait_for(lambda: slow.hub.requests)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        opened.set()
        return slow.run(*arguments)[0]

    assert without_locks(work) == 0


@pytest.mark.parametrize("moment", [LONG_AGO, FAR_AHEAD])
def test_other_times_on_the_files_change_nothing(small: World, moment: int):
    small.prepare()
    tree, asked = small.tree(), len(small.hub.requests)
    for path in small.volume.root.rglob("*"):
        os.utime(path, (moment, moment))
    assert small.prepare().report.ready
    assert len(small.hub.requests) == asked
    assert small.tree() == tree


def test_a_download_is_continued_whatever_time_its_files_have(world: World):
    content = os.urandom(4 << 20)
    world.add("big", "file", "http://host.example/big.bin", content, "big.bin", sha256=None)
    opened = threading.Event()
    hub = world.start(lambda respond: held(opened, after=3 << 19)(slowly(700_000)(respond)))
    arguments = ["prepare", "--only", "big", "--connections", "2", "--mirror", hub.url]
    process = world.command(*arguments)
    wait_for(lambda: bytes_done(world.volume.partial("big")) >= 1 << 20)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    opened.set()
    kept, sent = bytes_done(world.volume.partial("big")), hub.bytes_sent
    for path in world.volume.root.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert world.run(*arguments)[0] == 0
    assert world.volume.path("big.bin").read_bytes() == content
    assert hub.bytes_sent - sent <= len(content) - kept + (1 << 20)

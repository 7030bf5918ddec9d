"""Several prepares on one volume at once, and times that say nothing."""

import fcntl
import os
import signal
import time
from pathlib import Path

import pytest

from entrypoint.prepare.transport.control import bytes_done
from tests.entrypoint.prepare.conftest import World, slowly
from tests.entrypoint.without_locks import without_locks

LONG_AGO, FAR_AHEAD = 1, 4_102_444_800


@pytest.fixture
def slow(world: World) -> World:
    """Takes some seconds to prepare."""
    world.add_set()
    world.add("big", "file", "http://host.example/big.bin", os.urandom(130_000), "big.bin")
    world.artifacts["rows"]["needs"].append("big")
    world.start(slowly(40_000))
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


def race(world: World, count: int, *options: str) -> list[tuple[int, str]]:
    arguments = ["prepare", "--stage", "1", "--mirror", world.hub.url, *options]
    processes = [world.command(*arguments) for _ in range(count)]
    words = [process.communicate(timeout=120)[1] for process in processes]
    return [(process.returncode, word) for process, word in zip(processes, words, strict=True)]


@pytest.mark.parametrize("count", [2, 4])
def test_one_works_and_the_others_leave(slow: World, count: int):
    ended = race(slow, count)
    assert sorted(code for code, _ in ended) == [0, *[75] * (count - 1)], ended
    for code, words in ended:
        if code == 75:
            assert "is in use by process" in words.splitlines()[-1]
    assert slow.prepare().report.ready
    assert slow.hub.bytes_sent == size_served(slow)


def test_those_that_wait_find_it_done(slow: World):
    count = 4
    ended = race(slow, count, "--wait")
    assert [code for code, _ in ended] == [0] * count, ended
    waited = [words for _, words in ended if "waiting until it has ended" in words]
    assert len(waited) == count - 1
    assert all("up to date" in words for words in waited)
    assert slow.hub.bytes_sent == size_served(slow)


def test_one_works_also_where_no_file_can_be_locked(slow: World, tmp_path: Path):
    def work() -> tuple[list[str], list[tuple[int, str]]]:
        return refused_locks(tmp_path), race(slow, 4)

    refused, ended = without_locks(work)
    assert refused == ["No locks available"] * 2
    assert sorted(code for code, _ in ended) == [0, 75, 75, 75]
    assert slow.hub.bytes_sent == size_served(slow)
    assert refused_locks(tmp_path) == []


def test_a_killed_one_is_replaced_also_where_no_file_can_be_locked(slow: World):
    def work() -> int:
        arguments = ["prepare", "--stage", "1", "--mirror", slow.hub.url]
        process = slow.command(*arguments)
        while not slow.hub.bytes_sent:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
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
    hub = world.start(slowly(700_000))
    arguments = ["prepare", "--only", "big", "--connections", "2", "--mirror", hub.url]
    process = world.command(*arguments)
    while bytes_done(world.volume.partial("big")) < 1 << 20:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    kept, sent = bytes_done(world.volume.partial("big")), hub.bytes_sent
    for path in world.volume.root.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert world.run(*arguments)[0] == 0
    assert world.volume.path("big.bin").read_bytes() == content
    assert hub.bytes_sent - sent <= len(content) - kept + (1 << 20)

"""Several prepares on one volume at once, and times that say nothing."""

import os

import pytest

from entrypoint.sample.hub import Answer, Request, Respond
from tests.entrypoint.prepare.conftest import World

LONG_AGO, FAR_AHEAD = 1, 4_102_444_800


def slowly(respond: Respond) -> Respond:
    def answer(request: Request) -> Answer:
        found = respond(request)
        found.bytes_per_second = 40_000
        return found

    return answer


@pytest.fixture
def slow(world: World) -> World:
    """Takes some seconds to prepare."""
    world.add_set()
    world.add("big", "file", "http://host.example/big.bin", os.urandom(130_000), "big.bin")
    world.artifacts["rows"]["needs"].append("big")
    world.start(slowly)
    return world


def size_served(world: World) -> int:
    return sum(path.stat().st_size for path in world.served.rglob("*") if path.is_file())


def race(world: World, count: int, *options: str) -> list[tuple[int, str]]:
    arguments = ["prepare", "--stage", "1", "--mirror", world.hub.url, *options]
    processes = [world.command(*arguments) for _ in range(count)]
    words = [process.communicate(timeout=120)[1] for process in processes]
    return [(process.returncode, word) for process, word in zip(processes, words, strict=True)]


@pytest.mark.parametrize("count", [2, 4])
def test_one_works_and_the_others_leave(slow: World, count: int):
    ended = race(slow, count)
    assert sorted(code for code, _ in ended) == [0, *[75] * (count - 1)]
    for code, words in ended:
        if code == 75:
            assert "is in use by process" in words.splitlines()[-1]
    assert slow.prepare().report.ready
    assert slow.hub.bytes_sent == sum(
        path.stat().st_size for path in slow.served.rglob("*") if path.is_file()
    )


def test_those_that_wait_find_it_done(slow: World):
    count = 4
    ended = race(slow, count, "--wait")
    assert [code for code, _ in ended] == [0] * count
    waited = [words for _, words in ended if "waiting until it has ended" in words]
    assert len(waited) == count - 1
    assert all("up to date" in words for words in waited)
    assert slow.hub.bytes_sent == sum(
        path.stat().st_size for path in slow.served.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("moment", [LONG_AGO, FAR_AHEAD])
def test_other_times_on_the_files_change_nothing(small: World, moment: int):
    small.prepare()
    tree, asked = small.tree(), len(small.hub.requests)
    for path in small.volume.root.rglob("*"):
        os.utime(path, (moment, moment))
    assert small.prepare().report.ready
    assert len(small.hub.requests) == asked
    assert small.tree() == tree

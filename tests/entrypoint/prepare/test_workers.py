"""Processes that share work."""

import errno
import gc
import os
import signal
import time
from contextlib import closing

import psutil
import pytest

from entrypoint.prepare.workers import map_unordered
from libmoe.config.errors import TryAgainError

COUNT = 2


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def fail(number: int) -> int:
    if number == 3:
        raise ConnectionResetError(errno.ECONNRESET, "of the task's own", "a/file")
    return number


def end(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def outlive(number: int) -> int:
    for signum in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), signum)
    return number


@pytest.mark.parametrize("count", [1, COUNT])
def test_every_task_is_done_once(count: int):
    done = list(map_unordered(count, square, range(100)))
    assert sorted(result for result, _ in done) == [number * number for number in range(100)]
    assert (os.getpid() in {pid for _, pid in done}) == (count == 1)


@pytest.mark.parametrize("count", [1, COUNT])
def test_a_failure_comes_as_it_was(count: int):
    with pytest.raises(ConnectionResetError) as caught:
        list(map_unordered(count, fail, range(10)))
    assert (caught.value.errno, caught.value.filename) == (errno.ECONNRESET, "a/file")


def test_fewer_tasks_than_processes():
    assert list(map_unordered(COUNT, fail, [])) == []
    assert list(map_unordered(COUNT, fail, [7])) == [7]


def test_one_that_is_killed():
    with pytest.raises(TryAgainError, match="was killed"):
        list(map_unordered(COUNT, end, range(10)))


def test_one_that_is_killed_between_two_tasks():
    """Its error can be collected; with a buffer of `Connection.send` in it, that crashes Python 3.12.1."""
    before = set(psutil.Process().children())
    with closing(map_unordered(COUNT, square, range(100))) as done:
        next(done)
        time.sleep(0.3)  # they have answered, and wait for their next task
        for child in set(psutil.Process().children()) - before:
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
                child.wait(60)
        with pytest.raises(TryAgainError, match="was killed") as caught:
            list(done)
    ring: list[object] = [caught.value]
    ring.append(ring)
    del caught, ring
    gc.collect()


def test_signals_are_for_the_parent():
    assert sorted(map_unordered(COUNT, outlive, range(4))) == [0, 1, 2, 3]


def test_none_is_left_when_it_is_closed():
    before = set(psutil.Process().children())
    with closing(map_unordered(COUNT, square, range(100))) as done:
        next(done)
        assert len(set(psutil.Process().children()) - before) >= COUNT
    left = set(psutil.Process().children()) - before
    assert not [child for child in left if "spawn_main" in " ".join(child.cmdline())]

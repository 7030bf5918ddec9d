"""Processes that share work; they end with the one that started them, however that ends.

Not concurrent.futures: before Python 3.11.5, it may wait for ever for a process of its pool that was killed.
Nor `Connection.send`, whose buffer crashes Python 3.12.1 once an error has kept it (python/cpython#111211).
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Any, Generic, TypeVar

from libmoe.config.errors import TryAgainError

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_unordered(
    count: int, function: Callable[[Task], Result], tasks: Iterable[Task]
) -> Generator[Result, None, None]:
    """What ``function`` makes of each task, in the order they are done, by ``count`` processes.

    What is small, or for one, is done here: sooner than a process has started. Close it to end the processes.

    Raises:
        TryAgainError: somebody killed a process.
        Exception: what ``function`` raised.
    """
    if count <= 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")  # a process with threads must not be forked
    waiting = iter(tasks)
    workers: list[_Worker[Task, Result]] = []
    try:
        workers.extend(_Worker(context, function) for _ in range(count))
        busy = {worker.connection: worker for worker in workers if worker.begin_next(waiting)}
        while busy:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                result = worker.finish()
                if not worker.begin_next(waiting):
                    del busy[worker.connection]
                yield result
    finally:
        for worker in workers:
            worker.end()


class _Worker(Generic[Task, Result]):
    """One process, which does one task at a time."""

    def __init__(self, context: SpawnContext, function: Callable[[Task], Result]) -> None:
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, function), daemon=True)
        self._process.start()
        theirs.close()

    def begin_next(self, tasks: Iterator[Task]) -> bool:
        """Begins the next task, if there is one."""
        for task in tasks:
            with _alive():
                self.connection.send_bytes(pickle.dumps(task))
            return True
        return False

    def finish(self) -> Result:
        """What came of the task."""
        with _alive():
            result, error = self.connection.recv()
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        """At once: what it writes is not under its final name yet."""
        self._process.kill()
        self._process.join()
        self.connection.close()


@contextlib.contextmanager
def _alive() -> Iterator[None]:
    """Says so where the other end of a connection is gone."""
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise TryAgainError(
            "A process of libmoe was killed, perhaps because memory ran out: run the same command again, "
            "with fewer --jobs if it happens again."
        ) from error


def _work(connection: "Connection[Any, Any]", function: Callable[[Any], Any]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # for the parent, which stops in good order
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(_answer(function, task))


def _answer(function: Callable[[Any], Any], task: Any) -> tuple[Any, Exception | None]:
    try:
        return function(task), None
    except Exception as error:
        return None, error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)

"""Waits for what has to happen, instead of for a time by which it should have."""

import time
from collections.abc import Callable


def wait_for(happened: Callable[[], object], seconds: float = 60) -> None:
    """Returns once it has happened; so many seconds of nothing are a hang."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)

"""Ctrl-C once stops in good order; twice leaves at once, as a kill would, which `prepare` survives."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from libmoe.config.errors import TryAgainError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def twice_leaves() -> Iterator[None]:
    """While it lasts, SIGINT and SIGTERM raise `KeyboardInterrupt`, and the next one ends the process."""
    before = [signal.signal(number, _stop) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    for number in _SIGNALS:
        signal.signal(number, _leave)
    raise KeyboardInterrupt


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    bars = _SHOW_CURSOR if sys.stderr.isatty() else ""
    words = "libmoe: Interrupted twice, so left at once; the same command continues where it stopped."
    os.write(2, f"{bars}\n{words}\n".encode())
    os._exit(TryAgainError.exit_code)

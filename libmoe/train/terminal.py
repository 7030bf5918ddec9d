"""Where lines go: standard output is for progress alone, what libraries print goes to the log."""

import logging
import os
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

Say = Callable[[str], None]
"""Shows one line to the person who watches, and keeps it in the log."""


def claim_stdout() -> Say:
    """Takes standard output over for progress lines; what else is written there joins standard error.

    Works on file descriptors, since compilers and C++ libraries write there too.
    """
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(line: str) -> None:
        lines.write(line + "\n")
        _LOG.info(line)

    return say


def silent(line: str) -> None:
    """The ``Say`` of every rank but the first."""

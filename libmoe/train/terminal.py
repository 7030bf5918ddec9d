"""Where progress lines go: standard output is for them alone, whatever libraries print goes to the log."""

import os
from collections.abc import Callable

Say = Callable[[str], None]
"""Shows one line to the person who watches."""


def claim_stdout() -> Say:
    """Takes standard output over for progress lines; what else is written there joins standard error.

    Works on file descriptors, since compilers and C++ libraries write there too.
    """
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(line: str) -> None:
        lines.write(line + "\n")

    return say


def silent(line: str) -> None:
    """The ``Say`` of every rank but the first."""

"""Commands that hand their work to a process which may import torch."""

import subprocess
import sys
from collections.abc import Sequence

import click

from libmoe.config.errors import TryAgainError


def hand_over(module: str, arguments: Sequence[str]) -> None:
    """Runs ``python -m MODULE ARGUMENTS`` and ends the command as it ended.

    A terminal's interrupt reaches this process alone, which asks the other to end and waits until it has
    tidied up; a second interrupt does not wait.

    Raises:
        TryAgainError: a signal ended the process.
    """
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], process_group=0)
    try:
        code = _ended(process)
    finally:
        process.kill()
    if code < 0:
        raise TryAgainError(
            f"{module} was ended by signal {-code}, as where memory runs out: give it more and try again."
        )
    click.get_current_context().exit(code)


def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        code = process.wait()
        if code < 0:  # it was too young to say so itself
            raise
        return code

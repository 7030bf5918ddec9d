"""Commands that hand their work to a process which may import torch."""

from collections.abc import Sequence

import click


def hand_over(module: str, arguments: Sequence[str]) -> None:
    """Runs ``python -m MODULE ARGUMENTS`` and ends the command as it ended."""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-m", module, *arguments])
    click.get_current_context().exit(done.returncode)

"""What the real command line makes of the words in a job's specification."""

from collections.abc import Mapping, Sequence

import click
import pytest

from entrypoint.cli import COMMANDS, libmoe

PREFIX = "LIBMOE_"


def complaints(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Why ``libmoe WORDS`` would not start with such an environment; empty if it would."""
    if not words or words[0] not in COMMANDS:
        return [f"{words} is no libmoe command"]
    command = libmoe.get_command(click.Context(libmoe), words[0])
    assert command
    known = {parameter.envvar for parameter in command.params}
    found = [f"{name} is no option" for name in environment if name.startswith(PREFIX) and name not in known]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            command.make_context(words[0], list(words[1:]))
        except click.UsageError as error:
            found.append(f"libmoe {' '.join(words)}: {error.format_message()}")
    return found

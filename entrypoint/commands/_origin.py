"""Who gave an option of the command that runs: its flag, its environment variable, or nobody."""

import click
from click.core import ParameterSource

DEFAULT = "default"


def origin_of(name: str) -> str:
    """The flag (``--moe``), the variable's name (``LIBMOE_TRAIN_MOE``), or ``DEFAULT``."""
    context = click.get_current_context()
    option = next(one for one in context.command.params if one.name == name)
    match context.get_parameter_source(name):
        case ParameterSource.ENVIRONMENT:
            return str(option.envvar)
        case ParameterSource.DEFAULT:
            return DEFAULT
        case _:
            return max(option.opts, key=len)

"""``--json``, which every command that has a result takes."""

from collections.abc import Callable
from typing import Any

import click


def json_option(
    meaning: str = "One JSON object on stdout.",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Handed on as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=meaning)

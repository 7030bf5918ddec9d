"""The options that decide a run's settings, shared by the commands that need them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from entrypoint.commands._origin import origin_of
from entrypoint.settings import RunSettings

_OPTIONS = (
    click.option(
        "--preset",
        metavar="NAME",
        default="phi35-siglip224",
        show_default=True,
        help="The model: phi35-siglip224, phi35-clip336, smollm-siglip224 or tiny.",
    ),
    click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A TOML file of settings, over the preset and the recipe.",
    ),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="One setting, over all; may be repeated. `libmoe config show` has the keys.",
    ),
    click.option(
        "--moe", metavar="NAME", help="Routing algorithm of the experts (docs/moe.md); none: a dense model."
    ),
    click.option("--max-steps", type=click.IntRange(min=1), help="Stop after this many optimizer steps."),
)


def run_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options and hands the command a `RunSettings` as ``settings``."""

    @functools.wraps(function)
    def command(
        *args: Any,
        preset: str,
        config_file: Path | None,
        assignments: tuple[str, ...],
        moe: str | None,
        max_steps: int | None,
        **kwargs: Any,
    ) -> Any:
        origins = {name: origin_of(name) for name in ("stage", "preset", "assignments", "moe", "max_steps")}
        settings = RunSettings(preset, config_file, assignments, moe, max_steps, origins)
        return function(*args, settings=settings, **kwargs)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command

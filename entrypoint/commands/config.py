"""``libmoe config show|schema``: the settings of a run, where each came from, and what there is."""

from typing import TYPE_CHECKING, Any

import click

from entrypoint.commands._json_option import json_option
from entrypoint.commands._run_options import run_settings
from entrypoint.settings import RunSettings

if TYPE_CHECKING:
    from libmoe.config.layers import Resolved


@click.group()
def command() -> None:
    """Show the settings of a run and where each came from."""


@command.command()
@click.option("--stage", metavar="STAGE", required=True, help="pretrain, pft, sft, or 1, 2, 3, or all.")
@run_settings
@json_option("One JSON object on stdout; of all, an object a stage.")
def show(stage: str, settings: RunSettings, as_json: bool) -> None:
    """Print every setting of a stage, its value and its origin."""
    from entrypoint import console
    from libmoe.config.stages import parse_stages

    resolved = {name: settings.resolve(name) for name in parse_stages(stage)}
    if as_json:
        shown = {name: _described(one) for name, one in resolved.items()}
        console.result(shown if len(shown) > 1 else next(iter(shown.values())))
        return
    for name, one in resolved.items():
        rows = [(key, said["value"], said["from"]) for key, said in _described(one).items()]
        console.table(f"Settings of {name}", ("setting", "value", "from"), rows)


@command.command()
def schema() -> None:
    """Print the JSON Schema of a settings file."""
    from entrypoint import console
    from libmoe.config.schema import RunConfig

    console.result(RunConfig.model_json_schema())


def _described(resolved: "Resolved") -> dict[str, dict[str, Any]]:
    values = resolved.flat()
    return {key: {"value": values[key], "from": origin} for key, origin in resolved.provenance.items()}

"""``libmoe config show|schema``: the settings of a run, where each came from, and what there is."""

import click

from entrypoint.commands._run_options import run_settings
from entrypoint.settings import RunSettings


@click.group()
def command() -> None:
    """Show the settings of a run and where each came from."""


@command.command()
@click.option("--stage", metavar="STAGE", required=True, help="pretrain, pft, sft, or 1, 2, 3.")
@run_settings
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def show(stage: str, settings: RunSettings, as_json: bool) -> None:
    """Print every setting of a stage, its value and its origin."""
    from entrypoint import console
    from libmoe.config.stages import parse_stages

    for name in parse_stages(stage):
        resolved = settings.resolve(name)
        values = resolved.flat()
        if as_json:
            console.result(
                {key: {"value": values[key], "from": origin} for key, origin in resolved.provenance.items()}
            )
        else:
            rows = [(key, values[key], origin) for key, origin in resolved.provenance.items()]
            console.table(f"Settings of {name}", ("setting", "value", "from"), rows)


@command.command()
def schema() -> None:
    """Print the JSON Schema of a settings file."""
    from entrypoint import console
    from libmoe.config.schema import RunConfig

    console.result(RunConfig.model_json_schema())

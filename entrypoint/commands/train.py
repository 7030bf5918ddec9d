"""``libmoe train``: parse, plan or train, print."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from entrypoint.commands._json_option import json_option
from entrypoint.commands._training_options import TrainingRequest, training_request

if TYPE_CHECKING:
    from entrypoint.launch.run import Training


@click.command()
@training_request
@click.option("--dry-run", is_flag=True, help="Print what would run and what it would cost.")
@json_option()
def command(request: TrainingRequest, dry_run: bool, as_json: bool) -> None:
    """Train one stage or all three with DeepSpeed. The same command, given again, continues."""
    training = request.training(planned=dry_run)
    if dry_run:
        _plan(training, as_json)
    else:
        _train(training, as_json)


def _plan(training: "Training", as_json: bool) -> None:
    from entrypoint import console
    from entrypoint.launch import summary

    forecasts = list(training.plan())
    _show({one.spec.config.stage: summary.planned(one, training.place) for one in forecasts}, as_json)
    training.check_memory(forecasts, console.say)


def _train(training: "Training", as_json: bool) -> None:
    from entrypoint import console
    from entrypoint.launch import summary

    specs = training.run(console.say)
    _show({spec.config.stage: summary.trained(spec) for spec in specs}, as_json)
    if not as_json:
        console.say(f"The model is in {specs[-1].model_dir}.")


def _show(stages: Mapping[str, Mapping[str, object]], as_json: bool) -> None:
    from entrypoint import console
    from entrypoint.launch import summary

    if as_json:
        console.result(stages)
    else:
        console.table(*summary.table(list(stages.values())))

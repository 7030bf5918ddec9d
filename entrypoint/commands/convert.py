"""``libmoe convert import|export``: hands upstream's checkpoints to the process that knows both layouts."""

from collections.abc import Mapping
from pathlib import Path

import click

from entrypoint.commands._model_process import hand_over

_FOLDER = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Turn upstream's checkpoints into ours, and back (docs/interchange.md)."""


@command.command("import")
@click.argument("source", type=_FOLDER)
@click.argument("destination", type=_FOLDER)
@click.option("--tower", type=_FOLDER, help="The vision tower, where SOURCE has none that a preset knows.")
@click.option("--language", type=_FOLDER, help="The language model, where SOURCE is a connector alone.")
@click.option("--tokenizer", type=_FOLDER, help="The tokenizer, where SOURCE has none.")
def import_(source: Path, destination: Path, **options: Path | None) -> None:
    """Upstream's checkpoint SOURCE to a model folder DESTINATION, for generate and train --init-from."""
    _run("import", source, destination, options)


@command.command("export")
@click.argument("source", type=_FOLDER)
@click.argument("destination", type=_FOLDER)
@click.option("--tower", metavar="NAME", help="The tower's name on the hub, where it is none of a preset's.")
def export(source: Path, destination: Path, **options: str | None) -> None:
    """A run's model folder SOURCE to upstream's layout in DESTINATION."""
    _run("export", source, destination, options)


def _run(action: str, source: Path, destination: Path, options: Mapping[str, object]) -> None:
    words = [f"--{name}={value}" for name, value in options.items() if value is not None]
    hand_over("libmoe.model.interchange", [action, *words, "--", str(source), str(destination)])

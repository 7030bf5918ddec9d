"""``libmoe catalog list|show|freeze``: what can be fetched."""

import os
from pathlib import Path

import click

from entrypoint.commands._data_options import catalog_option
from entrypoint.commands._json_option import json_option


@click.group()
def command() -> None:
    """What can be fetched: from where, how large, under which licence."""


@command.command("list")
@catalog_option()
@json_option()
def list_all(catalog_name: str, as_json: bool) -> None:
    """Print every artifact, and the stages that use it."""
    from entrypoint import console
    from entrypoint.catalog.load import load_catalog
    from entrypoint.catalog.selection import select

    catalog = load_catalog(catalog_name)
    stages = {stage: select(catalog, [stage]).artifacts for stage in catalog.stages}
    uses = {a.name: [stage for stage in stages if a in stages[stage]] for a in catalog.artifacts}
    if as_json:
        console.result(
            {a.name: {**a.model_dump(mode="json"), "stages": uses[a.name]} for a in catalog.artifacts}
        )
        return
    rows = [
        (a.name, a.kind, console.size(a.expected_size) if a.expected_size else "-", " ".join(uses[a.name]))
        for a in catalog.artifacts
    ]
    console.table(
        f"{catalog.catalog.name}: {catalog.catalog.description}", ("name", "kind", "size", "stages"), rows
    )


@command.command()
@click.argument("name")
@catalog_option()
@json_option()
def show(name: str, catalog_name: str, as_json: bool) -> None:
    """Print all that is known of one artifact or group."""
    from entrypoint import console
    from entrypoint.catalog.load import load_catalog
    from entrypoint.catalog.selection import named

    chosen = named(load_catalog(catalog_name), name)
    if as_json:
        console.result([artifact.model_dump(mode="json") for artifact in chosen])
        return
    for artifact in chosen:
        fields = artifact.model_dump(mode="json", exclude_defaults=True).items()
        rows = [(key, ", ".join(value) if isinstance(value, list) else value) for key, value in fields]
        console.table(artifact.name, ("key", "value"), rows)


@command.command()
@catalog_option()
@click.option("--mirror", metavar="URL", help="Ask for https://host/path at URL/host/path (http or file).")
@click.option(
    "--hash", "with_hash", is_flag=True, help="Fetch files whose sha256 no source reports, to compute it."
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The catalogue to write.")
def freeze(catalog_name: str, mirror: str | None, with_hash: bool, output: Path) -> None:
    """Ask the sources for sizes, hashes and commits; write a catalogue."""
    from entrypoint import console
    from entrypoint.catalog.load import load_catalog
    from entrypoint.prepare.freeze import freeze as ask
    from entrypoint.prepare.transport.addresses import Addresses
    from entrypoint.volume import write_text
    from libmoe.config.errors import VolumeError

    addresses = Addresses(mirror, os.environ.get("HF_ENDPOINT"), os.environ.get("HF_TOKEN"))
    frozen = ask(load_catalog(catalog_name), addresses, with_hash, console.say)
    try:
        write_text(output.absolute(), frozen.text)
    except OSError as error:
        raise VolumeError(
            f"{output} cannot be written ({error.strerror}): name another with --output."
        ) from error
    console.say(f"written: {output}")
    frozen.require_whole()

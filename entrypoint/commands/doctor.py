"""``libmoe doctor``: look at this machine, say what is wrong and what to do."""

import os
from pathlib import Path

import click

from entrypoint.commands._data_options import catalog_option
from entrypoint.commands._json_option import json_option


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="The data volume.  [default: /data]")
@click.option(
    "--gpus",
    metavar="GPUS",
    help="As for `train`: 0,1, a number, all, or cpu.  [default: all there are]",
)
@click.option("--network", is_flag=True, help="Also contact every host of the catalogue.")
@catalog_option("Whose hosts: guide, sample, or a TOML file of your own.")
@click.option("--mirror", metavar="URL", help="Ask URL/host/path for https://host/path (http or file).")
@json_option("One JSON object on stdout, with all packages.")
def command(
    data_dir: Path | None,
    gpus: str | None,
    network: bool,
    catalog_name: str,
    mirror: str | None,
    as_json: bool,
) -> None:
    """Say what is wrong with this machine and what to do. Exits with 78 if something would stop a run."""
    from entrypoint import console
    from entrypoint.catalog.load import load_catalog
    from entrypoint.doctor.examination import examine
    from entrypoint.prepare.transport.addresses import Addresses
    from entrypoint.volume import Volume, default_data_dir

    volume = Volume((data_dir or default_data_dir()).absolute())
    addresses = Addresses(mirror, os.environ.get("HF_ENDPOINT"), os.environ.get("HF_TOKEN"))
    found = examine(volume, gpus, load_catalog(catalog_name) if network else None, addresses)
    if as_json:
        console.result(found.as_dict())
    else:
        rows = [(one.check, one.verdict, one.found) for one in found.findings]
        console.table("This machine", ("check", "verdict", "found"), rows)
        for one in found.findings:
            if one.remedy:
                console.say(f"{one.check}: {one.remedy}")
    found.require_health()

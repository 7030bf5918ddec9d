"""``libmoe verify``: join the annotations with the disk, print, fail if something is not ready."""

import os

import click

from entrypoint.commands._data_options import DataRequest, data_request
from entrypoint.commands._json_option import json_option


@click.command()
@data_request
@click.option("--deep", is_flag=True, help="Read every file and decode every image.")
@click.option("--write-filtered", is_flag=True, help="Write annotations without unusable rows.")
@json_option()
def command(request: DataRequest, deep: bool, write_filtered: bool, as_json: bool) -> None:
    """Join every annotation row with the images on the volume."""
    from entrypoint import console
    from entrypoint.prepare.audit.rows import Depth
    from entrypoint.prepare.screen import progress, tables
    from entrypoint.prepare.verify import verify

    catalog = request.catalog()
    selection = request.select(catalog)
    depth = Depth(decode_jobs=(os.cpu_count() or 1) if deep else 0)
    with progress.watcher() as emit:
        found = verify(selection, request.volume, depth, write_filtered, emit)
    console.result(found.as_dict()) if as_json else tables.show_verified(found, deep)
    found.report.require_ready()

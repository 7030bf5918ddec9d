"""``libmoe prepare``: parse, plan or prepare, print."""

import os
from dataclasses import replace

import click

from entrypoint.commands._data_options import DataRequest, data_request
from entrypoint.commands._json_option import json_option

_CORES = os.cpu_count() or 1


@click.command()
@data_request
@click.option("--mirror", metavar="URL", help="Fetch https://host/path from URL/host/path (http or file).")
@click.option(
    "--connections",
    type=click.IntRange(1, 16),
    default=16,
    show_default=True,
    help="Connections per file to one host.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=_CORES, help="Processes that unpack.  [default: all cores]"
)
@click.option("--keep-archives", is_flag=True, help="Keep archives after they are unpacked.")
@click.option(
    "--shard", metavar="I/N", help="Prepare only share I (from 0) of N, while others prepare theirs."
)
@click.option("--force", is_flag=True, help="Go ahead even if it does not seem to fit.")
@click.option("--wait", is_flag=True, help="Wait until another prepare on this volume has ended.")
@click.option("--dry-run", is_flag=True, help="Print files, sizes, destinations and the disk needed.")
@json_option()
def command(
    request: DataRequest,
    mirror: str | None,
    connections: int,
    jobs: int,
    keep_archives: bool,
    shard: str | None,
    force: bool,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fetch, verify and unpack what a stage needs. The same command, given again, continues."""
    from entrypoint import console
    from entrypoint.interrupt import twice_leaves
    from entrypoint.prepare.options import Options
    from entrypoint.prepare.plan import make_plan
    from entrypoint.prepare.run import prepare
    from entrypoint.prepare.screen import progress, tables
    from entrypoint.prepare.shards import pick
    from entrypoint.prepare.transport.addresses import Addresses
    from entrypoint.shard import Shard

    share = Shard.parse(shard) if shard else None
    selection = request.select(request.catalog())
    addresses = Addresses(mirror, os.environ.get("HF_ENDPOINT"), os.environ.get("HF_TOKEN"))
    if dry_run:
        mine = pick(selection.artifacts, share) if share else selection.artifacts
        plan = make_plan(mine, request.volume, addresses, keep_archives)
        console.result(plan.as_dict()) if as_json else tables.show_plan(plan)
        return
    options = Options(addresses, connections, jobs, keep_archives)
    with twice_leaves(), progress.watcher() as emit:
        volume = replace(request.volume, share=share)
        outcome = prepare(selection, volume, options, emit, force, wait)
    console.result(outcome.as_dict()) if as_json else tables.show_report(outcome.report)

"""``libmoe status``: what the volume holds."""

import click

from entrypoint.commands._data_options import DataRequest, data_request
from entrypoint.commands._json_option import json_option


@click.command()
@data_request
@json_option()
def command(request: DataRequest, as_json: bool) -> None:
    """What the volume holds: absent, partial, ready or damaged, per artifact."""
    from entrypoint import console
    from entrypoint.prepare.listing import Listing
    from entrypoint.prepare.screen import tables
    from entrypoint.prepare.state import state_of

    catalog = request.catalog()
    chosen = request.select(catalog).artifacts if request.stage or request.only else catalog.artifacts
    request.volume.require()
    listing = Listing(request.volume.root)
    states = {artifact: state_of(artifact, request.volume, listing) for artifact in chosen}
    if as_json:
        console.result(
            {
                artifact.name: {
                    "state": state.kind,
                    "remark": state.reason,
                    "destination": artifact.destination,
                    "have": state.have,
                    "size": artifact.expected_size,
                }
                for artifact, state in states.items()
            }
        )
    else:
        tables.show_states(states)

"""The options that say which of several nodes this is."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from entrypoint.commands._origin import origin_of

if TYPE_CHECKING:
    from entrypoint.launch.nodes.settings import Flag


@dataclass(frozen=True)
class NodeFlags:
    """What was given, and how."""

    flags: "Mapping[str, Flag]"
    rendezvous_minutes: float


_OPTIONS = (
    click.option(
        "--nnodes",
        type=click.IntRange(min=1),
        help="Machines that train together.  [default: the scheduler's, or 1]",
    ),
    click.option("--node-rank", type=click.IntRange(min=0), help="Which of them this is, from 0."),
    click.option("--master-addr", metavar="HOST", help="Name or address of node 0, the same on all."),
    click.option("--master-port", type=click.IntRange(1, 2**16 - 1), help="Its port.  [default: 29500]"),
    click.option(
        "--rendezvous-minutes",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        help="How long nodes wait for each other.",
    ),
)


def node_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options and hands the command `NodeFlags` as ``nodes``."""

    @functools.wraps(function)
    def command(*args: Any, rendezvous_minutes: float, **kwargs: Any) -> Any:
        names = ("nnodes", "node_rank", "master_addr", "master_port")
        flags = _spoken({name: kwargs.pop(name) for name in names})
        return function(*args, nodes=NodeFlags(flags, rendezvous_minutes), **kwargs)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _spoken(values: Mapping[str, Any]) -> "Mapping[str, Flag]":
    """The values that were given, each with its flag's or its variable's name."""
    from entrypoint.launch.nodes.settings import Flag

    return {name: Flag(value, origin_of(name)) for name, value in values.items() if value is not None}

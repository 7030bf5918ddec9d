"""Brings the nodes of a run together."""

from collections.abc import Callable

from entrypoint.launch.nodes.alone import Alone
from entrypoint.launch.nodes.coordinator import gather
from entrypoint.launch.nodes.interface import Link
from entrypoint.launch.nodes.member import join
from entrypoint.launch.nodes.settings import Place
from entrypoint.launch.nodes.shared import identity
from libmoe.config.run import RunSpec


def meet(place: Place, spec: RunSpec, minutes: float, say: Callable[[str], None]) -> Link:
    """This node's tie to the others, once all are there.

    Raises:
        TryAgainError: some did not come within ``minutes``.
        ConfigError: a node was started with other settings.
    """
    hang_minutes = spec.config.train.hang_minutes
    if place.nodes == 1:
        return Alone(hang_minutes)
    if place.rank == 0:
        return gather(place, identity(spec), hang_minutes, minutes, say)
    return join(place, identity(spec), minutes, say)

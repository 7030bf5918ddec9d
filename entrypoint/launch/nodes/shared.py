"""What all nodes of a run must have in common: the same run, and one run folder that all of them see."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from libmoe.config.errors import ConfigError
from libmoe.config.layers import flatten
from libmoe.config.run import RunSpec

_SEEN_SECONDS = 60.0
"""How late a network file system may show another node's file."""


def identity(spec: RunSpec) -> dict[str, object]:
    """What must be the same on every node."""
    return {
        "stage": spec.config.stage,
        "the number of nodes": spec.world.nodes,
        "ranks on a node": spec.world.processes,
        "devices": spec.world.device,
        "the run folder": str(spec.run_dir),
        "the data folder": str(spec.data_dir),
        f"the sha256 of {spec.annotations.name}": spec.annotations.sha256,
        **flatten(spec.config.model_dump(mode="json")),
        **{f"the version of {package}": version for package, version in spec.versions.items()},
    }


def difference(ours: Mapping[str, object], theirs: Mapping[str, object], node: int) -> str | None:
    """The sentence about the first thing in which another node differs from node 0."""
    for key in [*ours, *theirs]:
        if ours.get(key) != theirs.get(key):
            return (
                f"Node {node} was started with {key} = {theirs.get(key)}, node 0 with {ours.get(key)}: "
                "give every node the same command."
            )
    return None


@contextlib.contextmanager
def show(run_dir: Path, token: str) -> Iterator[None]:
    """Puts a file in the run folder while the other nodes look for it."""
    mark = run_dir / f".node-0-{token}"
    mark.touch()
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def see(run_dir: Path, token: str, node: int) -> None:
    """Looks for what node 0 has put in the run folder.

    Raises:
        ConfigError: it is not there, so the folder is not the same.
    """
    until = time.monotonic() + _SEEN_SECONDS
    while not (run_dir.is_dir() and run_dir / f".node-0-{token}" in run_dir.iterdir()):
        if time.monotonic() > until:
            raise ConfigError(
                f"Node {node} does not see what node 0 writes to {run_dir}: "
                "put the run folder on a volume that all nodes share, with --run-dir or --data-dir."
            )
        time.sleep(0.2)

"""Decides what has to be fetched and whether it fits, without contacting a source or writing anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from entrypoint import console
from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.events import Event
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.options import IN_FLIGHT
from entrypoint.prepare.state import State, state_of
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.volume import Volume
from libmoe.config.errors import VolumeError

_OWN_FILES = 4
"""Our own files for each artifact: its receipt, its manifest or index, its state on the way."""


@dataclass(frozen=True)
class Step:
    """What happens with one artifact."""

    artifact: Artifact
    address: str
    """Asked first."""
    state: State
    parts: tuple[tuple[str, int | None], ...] = ()
    """Address and bytes of each part, where it comes in parts."""

    @property
    def to_fetch(self) -> int | None:
        """Bytes still to come; None where nobody knows."""
        if self.state.kind == "ready":
            return 0
        size = self.artifact.expected_size
        return None if size is None else max(0, size - self.state.have)

    @property
    def new_files(self) -> int:
        """Files the volume gets, as far as their number is known, with our own beside them."""
        if self.state.kind == "ready":
            return 0
        return (self.artifact.files or 1) + len(self.artifact.downloads) + _OWN_FILES

    @property
    def grows(self) -> int:
        """Bytes by which the volume grows for good, as far as they are known."""
        if self.state.kind == "ready":
            return 0
        copies = 2 if self.artifact.kind == "annotations" else 1  # the file and its index
        return copies * (self.artifact.unpacked or 0)

    @property
    def passing(self) -> int:
        """Bytes on top while it is worked on: an archive beside its files, an index's first draft."""
        whole = self.state.kind == "ready" or self.artifact.kind == "file"
        return 0 if whole else self.artifact.expected_size or 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.artifact.name,
            "kind": self.artifact.kind,
            "state": self.state.kind,
            "reason": self.state.reason or None,
            "url": self.address,
            "destination": self.artifact.destination,
            "size": self.artifact.expected_size,
            "size_is_exact": self.artifact.size_is_exact,
            "to_fetch": self.to_fetch,
            "files": self.artifact.files,
            "parts": [{"url": url, "size": size} for url, size in self.parts],
        }


@dataclass(frozen=True)
class Plan:
    """All steps, and the space they take."""

    steps: tuple[Step, ...]
    volume: Volume
    free_bytes: int | None
    free_inodes: int | None
    keep_archives: bool
    listing: Listing
    """The volume as it was when this was planned."""

    @property
    def missing(self) -> tuple[Step, ...]:
        """What is not ready yet."""
        return tuple(step for step in self.steps if step.state.kind != "ready")

    @property
    def states(self) -> dict[str, State]:
        """Of each artifact, when this was planned."""
        return {step.artifact.name: step.state for step in self.steps}

    @property
    def to_fetch(self) -> int:
        """Bytes still to come, as far as they are known."""
        return sum(step.to_fetch or 0 for step in self.steps)

    @property
    def unknown(self) -> int:
        """Artifacts to be fetched whose size nobody knows."""
        return sum(step.to_fetch is None for step in self.steps)

    @property
    def peak_bytes(self) -> int:
        """The most space that is taken at any moment on top of today's, as far as sizes are known."""
        here = sum(step.state.taken for step in self.missing)
        return max(0, sum(step.grows for step in self.steps) + self._beside - here)

    @property
    def _beside(self) -> int:
        """At the worst moment: one archive is beside its files, others wait that have none yet."""
        passing = [step.passing for step in self.steps]
        kept = sum(passing)
        if self.keep_archives:
            return kept
        excess = sorted((step.passing - step.grows for step in self.steps), reverse=True)
        return min(kept, max(passing, default=0) + sum(size for size in excess[:IN_FLIGHT] if size > 0))

    @property
    def new_files(self) -> int:
        """Files the volume gets, as far as their number is known."""
        return sum(step.new_files for step in self.steps)

    @property
    def fits(self) -> bool:
        """Whether the volume has that space and as many inodes, as far as it says."""
        space = self.free_bytes is None or self.peak_bytes <= self.free_bytes
        return space and (self.free_inodes is None or self.new_files <= self.free_inodes)

    def require_space(self) -> None:
        """Stops, before its first byte, a run that cannot end well.

        Raises:
            VolumeError: the volume has less space or fewer inodes than are needed.
        """
        if self.fits:
            return
        if self.free_bytes is not None and self.peak_bytes > self.free_bytes:
            needed, free = console.size(self.peak_bytes), console.size(self.free_bytes)
        else:
            needed, free = f"{self.new_files} files", f"inodes for {self.free_inodes}"
        raise VolumeError(
            f"The volume {self.volume.root} is too full: this takes {needed} at its peak, and {free} are "
            "free; make room, choose a larger volume with --data-dir, prepare less at a time with --only, "
            "or go ahead anyway with --force."
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "data_dir": str(self.volume.root),
            "files": [step.as_dict() for step in self.steps],
            "to_fetch_bytes": self.to_fetch,
            "files_of_unknown_size": self.unknown,
            "peak_bytes": self.peak_bytes,
            "free_bytes": self.free_bytes,
            "new_files": self.new_files,
            "free_inodes": self.free_inodes,
            "fits": self.fits,
        }


@dataclass(frozen=True)
class Planned(Event):
    """What will be done, reported before the first byte."""

    plan: Plan


def make_plan(
    artifacts: Sequence[Artifact],
    volume: Volume,
    addresses: Addresses,
    keep_archives: bool = False,
) -> Plan:
    """What is there already, what has to come from where, and what that takes."""
    listing = Listing(volume.root)
    steps = tuple(_step(artifact, volume, addresses, listing) for artifact in artifacts)
    return Plan(steps, volume, volume.free_bytes(), volume.free_inodes(), keep_archives, listing)


def _step(artifact: Artifact, volume: Volume, addresses: Addresses, listing: Listing) -> Step:
    first = artifact.downloads[0].urls[0] if artifact.downloads else artifact.parts_listing or ""
    parts = [(addresses.rewrite(part.urls[0]), part.size) for part in artifact.downloads if artifact.parts]
    return Step(artifact, addresses.rewrite(first), state_of(artifact, volume, listing), tuple(parts))

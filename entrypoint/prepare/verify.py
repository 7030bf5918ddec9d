"""What `verify` does: make the indexes that are not up to date, and join everything with the disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoint.catalog.selection import Selection
from entrypoint.prepare.annotations.filtered import write_filtered
from entrypoint.prepare.annotations.index import ensure_index, rows_done
from entrypoint.prepare.audit.report import Report
from entrypoint.prepare.audit.rows import Depth, audit, judge, write_audits
from entrypoint.prepare.events import Emit, Said
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.state import State
from entrypoint.volume import Volume
from libmoe.config.errors import TryAgainError, VolumeError


@dataclass(frozen=True)
class Verified:
    """The report, and what was written."""

    report: Report
    lists: dict[str, Path]
    """Annotation set to the file with every image that cannot be used."""
    filtered: dict[str, Path]
    """Name under which a training finds a filtered set, to its file."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.report.as_dict(),
            "unusable": {name: str(path) for name, path in self.lists.items()},
            "filtered": {name: str(path) for name, path in self.filtered.items()},
        }


def verify(selection: Selection, volume: Volume, depth: Depth, filtered: bool, emit: Emit) -> Verified:
    """Joins everything that was selected with the disk.

    Indexes that do not fit what is on the volume now are made first, as after prepares that shared the work;
    a volume that cannot be written, or is being written, is only looked at. What was found to have
    changed by reading it loses its receipt, so that the next prepare brings it again.

    Args:
        filtered: also writes the annotations without the rows that cannot be used.

    Raises:
        VolumeError: there is no such volume, or a filtered set cannot be written.
        TryAgainError: a filtered set is wanted while a prepare works on this volume.
    """
    volume.require()
    try:
        with volume.guard(), volume.lock():
            _index(selection, volume, emit)
            listing = Listing(volume.root)
            states = judge(selection, volume, depth, listing)
            report = audit(selection, volume, depth, listing, states)
            _revoke_receipts(states, volume)
            write_audits(report, volume)
            written = _write_filtered(selection, volume, report, emit) if filtered else {}
    except (VolumeError, TryAgainError) as error:
        if filtered:
            raise
        emit(Said(f"nothing is written: {error}"))
        return Verified(audit(selection, volume, depth), {}, {})
    lists = {found.name: volume.unusable_path(found.name) for found in report.sets if found.unusable}
    return Verified(report, lists, written)


def _revoke_receipts(states: Mapping[str, State], volume: Volume) -> None:
    for name, state in states.items():
        if state.unseen:
            volume.receipt_path(name).unlink()


def _index(selection: Selection, volume: Volume, emit: Emit) -> None:
    for artifact in selection.artifacts:
        if artifact.kind == "annotations" and volume.path(artifact.destination).is_file():
            ensure_index(artifact, volume, emit)


def _write_filtered(selection: Selection, volume: Volume, report: Report, emit: Emit) -> dict[str, Path]:
    by_name = {artifact.name: artifact for artifact in selection.artifacts}
    written: dict[str, Path] = {}
    for found in report.sets:
        if found.unusable_rows:
            tell = rows_done(found.name, emit)
            name, path = write_filtered(by_name[found.name], volume, found.unusable_rows, tell)
            written[name] = path
    return written

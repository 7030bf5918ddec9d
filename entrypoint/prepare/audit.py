"""Joins every annotation row with the disk: what can be trained on, and what is missing for it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from entrypoint.catalog.schema import Artifact, Catalog
from entrypoint.catalog.selection import Selection
from entrypoint.prepare.decode import undecodable
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.state import State, reread_state_of, state_of
from entrypoint.volume import Volume, write_text
from libmoe.config.annotations import IMAGES
from libmoe.config.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

TOLERATED = 0.01
"""Share of a set's rows that may be unusable in a set that is ready: sources do lose images."""
_EXAMPLES = 5


@dataclass(frozen=True)
class SetAudit:
    """One annotation set against the disk."""

    name: str
    not_ready: tuple[str, ...]
    """Artifacts it needs that are not ready, each with the reason."""
    rows: int = 0
    text_only: int = 0
    images: int = 0
    """Different images that its rows name; the next four add up to it."""
    present: int = 0
    missing: int = 0
    empty: int = 0
    undecodable: int = 0
    """Of those present, as far as they were decoded."""
    examples: tuple[str, ...] = ()
    """The first images that cannot be used."""
    unusable_rows: tuple[int, ...] = field(default=(), repr=False)
    """Numbers, from 0, of the rows with such an image."""

    @property
    def ready(self) -> bool:
        """Whether it can be trained on, perhaps without a few rows."""
        return not self.not_ready and len(self.unusable_rows) <= TOLERATED * self.rows

    @property
    def verdict(self) -> str:
        """In words."""
        if self.not_ready:
            return f"not ready: {self.not_ready[0]}"
        lost = len(self.unusable_rows)
        if not lost:
            return "ready"
        return f"ready but for {lost} rows" if self.ready else f"not ready: {lost} rows lack their image"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the number of unusable rows instead of all of theirs."""
        return {**asdict(self), "unusable_rows": len(self.unusable_rows), "verdict": self.verdict}


@dataclass(frozen=True)
class Report:
    """Everything that was selected."""

    sets: tuple[SetAudit, ...]
    stages: dict[str, tuple[str, ...]]
    """Stage to its annotation sets."""
    not_ready: tuple[str, ...]
    """Artifacts that are not ready, each with the reason."""

    @property
    def ready(self) -> bool:
        """Whether all of it can be trained on."""
        return not self.not_ready and all(audit.ready for audit in self.sets)

    def stage_verdict(self, stage: str) -> str:
        """Of all sets of a stage: the first that is not ready, else how many rows are lost."""
        audits = [audit for audit in self.sets if audit.name in self.stages[stage]]
        for audit in audits:
            if not audit.ready:
                return audit.verdict
        lost = sum(len(audit.unusable_rows) for audit in audits)
        return f"ready but for {lost} rows" if lost else "ready"

    def require_ready(self) -> None:
        """Does nothing if all of it can be trained on.

        Raises:
            DataError: something cannot; says what.
        """
        if self.ready:
            return
        reasons = [f"{audit.name} is {audit.verdict}" for audit in self.sets if not audit.ready]
        first = self.not_ready[0] if self.not_ready else reasons[0]
        raise DataError(f"The volume is not ready: {first}; run `libmoe prepare` for the same selection.")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ready": self.ready,
            "stages": {stage: self.stage_verdict(stage) for stage in self.stages},
            "annotations": [audit.as_dict() for audit in self.sets],
            "not_ready": list(self.not_ready),
        }


def audit(
    catalog: Catalog,
    selection: Selection,
    volume: Volume,
    listing: Listing | None = None,
    decode_jobs: int = 0,
) -> Report:
    """Looks at everything that was selected; writes nothing.

    Args:
        decode_jobs: processes that decode every image, and every file is read; 0 to leave that out.
    """
    listing = listing or Listing(volume.root)
    judge = reread_state_of if decode_jobs else state_of
    states = {artifact.name: judge(artifact, volume, listing) for artifact in selection.artifacts}
    sets = tuple(
        _audit_set(catalog, selection, artifact, volume, listing, states, decode_jobs)
        for artifact in selection.artifacts
        if artifact.kind == "annotations"
    )
    return Report(sets, selection.annotations, _not_ready(selection.artifacts, states))


def write_audits(report: Report, volume: Volume) -> None:
    """Keeps the audits on the volume, with the rows that cannot be used."""
    for found in report.sets:
        write_text(volume.audit_path(found.name), json.dumps(asdict(found)) + "\n")


def _audit_set(
    catalog: Catalog,
    selection: Selection,
    artifact: Artifact,
    volume: Volume,
    listing: Listing,
    states: dict[str, State],
    decode_jobs: int,
) -> SetAudit:
    needs = selection.needs(catalog, artifact.name)
    not_ready = _not_ready(needs, states)
    if states[artifact.name].kind != "ready":
        return SetAudit(artifact.name, not_ready)
    try:
        images = _image_column(volume, artifact.name)
    except FileNotFoundError:
        return SetAudit(artifact.name, (*not_ready, f"{artifact.name} has no index"))
    return _join(artifact.name, not_ready, images, volume, listing, decode_jobs)


def _join(
    name: str,
    not_ready: tuple[str, ...],
    images: "pa.ChunkedArray",
    volume: Volume,
    listing: Listing,
    decode_jobs: int,
) -> SetAudit:
    import pyarrow.compute as pc

    flat = pc.list_flatten(images)
    referenced: list[str] = pc.unique(flat).to_pylist()
    sizes = {path: listing.size(path) for path in referenced}
    missing = [path for path, size in sizes.items() if size is None]
    empty = [path for path, size in sizes.items() if size == 0]
    whole = [path for path, size in sizes.items() if size]
    broken = undecodable(volume.root, whole, decode_jobs) if decode_jobs else []
    unusable = [*missing, *empty, *broken]
    return SetAudit(
        name=name,
        not_ready=not_ready,
        rows=len(images),
        text_only=pc.sum(pc.equal(pc.list_value_length(images), 0)).as_py() or 0,
        images=len(referenced),
        present=len(whole) - len(broken),
        missing=len(missing),
        empty=len(empty),
        undecodable=len(broken),
        examples=tuple(unusable[:_EXAMPLES]),
        unusable_rows=_rows_with(images, unusable),
    )


def _rows_with(images: "pa.ChunkedArray", unusable: Sequence[str]) -> tuple[int, ...]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not unusable:
        return ()
    combined = images.combine_chunks()
    hit = pc.is_in(pc.list_flatten(combined), pa.array(unusable, pa.string()))
    return tuple(pc.unique(pc.list_parent_indices(combined).filter(hit)).to_pylist())


def _image_column(volume: Volume, annotations: str) -> "pa.ChunkedArray":
    import pyarrow as pa

    with pa.memory_map(str(volume.index_path(annotations))) as source:
        return pa.ipc.open_file(source).read_all().column(IMAGES)


def _not_ready(artifacts: Sequence[Artifact], states: dict[str, State]) -> tuple[str, ...]:
    return tuple(
        f"{artifact.name} is {state.kind}" + (f" ({state.reason})" if state.reason else "")
        for artifact in artifacts
        if (state := states[artifact.name]).kind != "ready"
    )

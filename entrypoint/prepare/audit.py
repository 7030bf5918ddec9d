"""Joins every annotation row with the disk: what can be trained on, and what is missing for it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from entrypoint.catalog.schema import Artifact
from entrypoint.catalog.selection import Selection
from entrypoint.prepare.decode import undecodable
from entrypoint.prepare.index import image_column
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.manifest import empty_files
from entrypoint.prepare.report import Report, SetAudit
from entrypoint.prepare.state import State, reread_state_of, state_of
from entrypoint.volume import Volume, write_text

if TYPE_CHECKING:
    import pyarrow as pa

_EXAMPLES = 5
_WITH_IMAGES = ("archive", "images")


@dataclass(frozen=True)
class Depth:
    """How closely to look."""

    sizes: bool = True
    """Ask for the size of every image to find empty ones; else what was noted when they came is believed."""
    decode_jobs: int = 0
    """Processes that decode every image, and read every file; 0 to leave that out."""


def audit(
    selection: Selection, volume: Volume, listing: Listing | None = None, depth: Depth | None = None
) -> Report:
    """Looks at everything that was selected; writes nothing."""
    listing, depth = listing or Listing(volume.root), depth or Depth()
    judge = reread_state_of if depth.decode_jobs else state_of
    states = {artifact.name: judge(artifact, volume, listing) for artifact in selection.artifacts}
    sets = tuple(
        _audit_set(selection, artifact, volume, listing, states, depth)
        for artifact in selection.artifacts
        if artifact.kind == "annotations"
    )
    return Report(sets, selection.annotations, _not_ready(selection.artifacts, states))


def share_report(artifacts: Sequence[Artifact], volume: Volume) -> Report:
    """Whether a share's own artifacts are there; what they are good for is seen when all shares are done."""
    listing = Listing(volume.root)
    states = {artifact.name: state_of(artifact, volume, listing) for artifact in artifacts}
    return Report((), {}, _not_ready(artifacts, states))


def write_audits(report: Report, volume: Volume) -> None:
    """Keeps the audits on the volume, and the whole lists of images that cannot be used."""
    for found in report.sets:
        numbers = {name: value for name, value in asdict(found).items() if name != "unusable"}
        write_text(volume.audit_path(found.name), json.dumps(numbers) + "\n")
        path = unusable_path(volume, found.name)
        if found.unusable:
            write_text(path, "".join(f"{reason}\t{image}\n" for image, reason in found.unusable))
        else:
            path.unlink(missing_ok=True)


def unusable_path(volume: Volume, annotations: str) -> Path:
    """The list of a set's images that cannot be used: a line each, the reason first."""
    return volume.audit_path(annotations).with_suffix(".unusable.txt")


def _audit_set(
    selection: Selection,
    artifact: Artifact,
    volume: Volume,
    listing: Listing,
    states: dict[str, State],
    depth: Depth,
) -> SetAudit:
    needs = selection.needs(artifact.name)
    not_ready = _not_ready(needs, states)
    if states[artifact.name].kind != "ready":
        return SetAudit(artifact.name, not_ready)
    try:
        images = image_column(volume, artifact.name)
    except FileNotFoundError:
        return SetAudit(artifact.name, (*not_ready, f"{artifact.name} has no index"))
    sources = [need for need in needs if need.kind in _WITH_IMAGES]
    return _join(artifact.name, not_ready, images, sources, volume, listing, depth)


def _join(
    name: str,
    not_ready: tuple[str, ...],
    images: "pa.ChunkedArray",
    sources: Sequence[Artifact],
    volume: Volume,
    listing: Listing,
    depth: Depth,
) -> SetAudit:
    import pyarrow.compute as pc

    referenced = pc.unique(pc.list_flatten(images))
    paths: list[str] = referenced.to_pylist()
    reasons = _unusable(paths, sources, volume, listing, depth)
    count = list(reasons.values()).count
    return SetAudit(
        name=name,
        not_ready=not_ready,
        rows=len(images),
        text_only=pc.sum(pc.equal(pc.list_value_length(images), 0)).as_py() or 0,
        images=len(paths),
        present=len(paths) - len(reasons),
        missing=count("missing"),
        empty=count("empty"),
        undecodable=count("undecodable"),
        examples=tuple(reasons)[:_EXAMPLES],
        unused=tuple(need.name for need in sources if not _names_any(referenced, need.destination)),
        unusable=tuple(reasons.items()),
        unusable_rows=_rows_with(images, list(reasons)),
    )


def _unusable(
    paths: Sequence[str], sources: Sequence[Artifact], volume: Volume, listing: Listing, depth: Depth
) -> dict[str, str]:
    """Image to the reason why it cannot be used, the missing ones first."""
    reasons = dict.fromkeys(listing.missing(paths), "missing")
    if depth.sizes:
        empty = {path for path in paths if path not in reasons and not listing.size(path)}
    else:
        empty = {path for need in sources for path in empty_files(volume, need.name)} & set(paths)
    reasons |= dict.fromkeys(sorted(empty - reasons.keys()), "empty")
    if depth.decode_jobs:
        whole = [path for path in paths if path not in reasons]
        reasons |= dict.fromkeys(undecodable(volume.root, whole, depth.decode_jobs), "undecodable")
    return reasons


def _names_any(referenced: "pa.Array", folder: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.starts_with(referenced, f"{folder}/")).as_py()) if folder else True


def _rows_with(images: "pa.ChunkedArray", unusable: Sequence[str]) -> tuple[int, ...]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not unusable:
        return ()
    combined = images.combine_chunks()
    hit = pc.is_in(pc.list_flatten(combined), pa.array(unusable, pa.string()))
    return tuple(pc.unique(pc.list_parent_indices(combined).filter(hit)).to_pylist())


def _not_ready(artifacts: Sequence[Artifact], states: dict[str, State]) -> tuple[str, ...]:
    return tuple(
        f"{artifact.name} is {state.kind}" + (f" ({state.reason})" if state.reason else "")
        for artifact in artifacts
        if (state := states[artifact.name]).kind != "ready"
    )

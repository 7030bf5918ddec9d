"""Joins every annotation row with the disk: what can be trained on, and what is missing for it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from entrypoint.catalog.schema import Artifact
from entrypoint.catalog.selection import Selection
from entrypoint.prepare.annotations.index import image_column
from entrypoint.prepare.audit.decode import undecodable
from entrypoint.prepare.audit.report import Report, SetAudit
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.manifest import manifest_table
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
    selection: Selection,
    volume: Volume,
    depth: Depth | None = None,
    listing: Listing | None = None,
    states: Mapping[str, State] | None = None,
) -> Report:
    """Looks at everything that was selected; writes nothing.

    Args:
        listing, states: where somebody has just looked.
    """
    listing, depth = listing or Listing(volume.root), depth or Depth()
    states = states or judge(selection, volume, depth, listing)
    sets = tuple(
        _audit_set(selection, artifact, volume, listing, states, depth)
        for artifact in selection.artifacts
        if artifact.kind == "annotations"
    )
    return Report(sets, selection.annotations, _not_ready(selection.artifacts, states))


def judge(selection: Selection, volume: Volume, depth: Depth, listing: Listing) -> dict[str, State]:
    """How far each artifact is; each file is read where the depth says so."""
    look = reread_state_of if depth.decode_jobs else state_of
    return {artifact.name: look(artifact, volume, listing) for artifact in selection.artifacts}


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
        path = volume.unusable_path(found.name)
        if found.unusable:
            write_text(path, "".join(f"{reason}\t{image}\n" for image, reason in found.unusable))
        else:
            path.unlink(missing_ok=True)


def _audit_set(
    selection: Selection,
    artifact: Artifact,
    volume: Volume,
    listing: Listing,
    states: Mapping[str, State],
    depth: Depth,
) -> SetAudit:
    needs = selection.needs(artifact.name)
    not_ready = _not_ready(needs, states)
    if states[artifact.name].kind != "ready":
        return SetAudit(artifact.name, not_ready)
    try:
        images = image_column(volume, artifact.name)
    except (FileNotFoundError, ValueError):
        return SetAudit(artifact.name, (*not_ready, f"{artifact.name} has no index that can be read"))
    sources = {need: states[need.name] for need in needs if need.kind in _WITH_IMAGES}
    return _join(artifact.name, not_ready, images, sources, volume, listing, depth)


def _join(
    name: str,
    not_ready: tuple[str, ...],
    images: "pa.ChunkedArray",
    sources: Mapping[Artifact, State],
    volume: Volume,
    listing: Listing,
    depth: Depth,
) -> SetAudit:
    import pyarrow.compute as pc

    referenced = pc.unique(pc.list_flatten(images))
    ready = [source for source, state in sources.items() if state.kind == "ready"]
    reasons = _unusable(referenced, ready, volume, listing, depth)
    count = list(reasons.values()).count
    return SetAudit(
        name=name,
        not_ready=not_ready,
        rows=len(images),
        text_only=pc.sum(pc.equal(pc.list_value_length(images), 0)).as_py() or 0,
        images=len(referenced),
        present=len(referenced) - len(reasons),
        missing=count("missing"),
        empty=count("empty"),
        undecodable=count("undecodable"),
        examples=tuple(reasons)[:_EXAMPLES],
        unused=tuple(need.name for need in sources if not _names_any(referenced, need.destination)),
        unusable=tuple(reasons.items()),
        unusable_rows=_rows_with(images, list(reasons)),
    )


def _unusable(
    referenced: "pa.Array", ready: Sequence[Artifact], volume: Volume, listing: Listing, depth: Depth
) -> dict[str, str]:
    """Image to the reason why it cannot be used, the missing ones first."""
    import pyarrow.compute as pc

    came = _files_of(ready, volume)
    unknown = referenced.filter(pc.invert(pc.is_in(referenced, came.column("path"))))
    reasons = dict.fromkeys(listing.missing(unknown.to_pylist()), "missing")
    if depth.sizes:
        empty = [path for path in referenced.to_pylist() if path not in reasons and not listing.size(path)]
    else:
        empty = _empty(referenced, came)
    reasons |= dict.fromkeys([path for path in empty if path not in reasons], "empty")
    if depth.decode_jobs:
        whole = [path for path in referenced.to_pylist() if path not in reasons]
        reasons |= dict.fromkeys(undecodable(volume.root, whole, depth.decode_jobs), "undecodable")
    return reasons


def _files_of(sources: Sequence[Artifact], volume: Volume) -> "pa.Table":
    """What sources put on the volume that are ready, so that all of it is there."""
    import pyarrow as pa

    nothing = pa.table({"path": pa.array([], pa.string()), "size": pa.array([], pa.int64())})
    return pa.concat_tables([nothing, *(manifest_table(volume, source.name) for source in sources)])


def _empty(referenced: "pa.Array", came: "pa.Table") -> list[str]:
    import pyarrow.compute as pc

    paths = came.column("path").filter(pc.equal(came.column("size"), 0))
    found: list[str] = paths.filter(pc.is_in(paths, referenced)).to_pylist()
    return found


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


def _not_ready(artifacts: Sequence[Artifact], states: Mapping[str, State]) -> tuple[str, ...]:
    return tuple(
        f"{artifact.name} is {state.kind}" + (f" ({state.reason})" if state.reason else "")
        for artifact in artifacts
        if (state := states[artifact.name]).kind != "ready"
    )

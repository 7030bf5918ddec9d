"""How far an artifact is: absent, partial, ready or damaged, judged by its receipt and the disk."""

from dataclasses import dataclass
from typing import Literal

from entrypoint.catalog.schema import Artifact
from entrypoint.digests import crc_of, sha256_of, sha256_of_all
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.manifest import manifest_table, read_manifest
from entrypoint.prepare.transport.record import bytes_here, read_record, space_of
from entrypoint.prepare.unpack.archive import BadArchiveError, LayoutRule, read_members
from entrypoint.receipt import Receipt
from entrypoint.volume import Volume


@dataclass(frozen=True)
class State:
    """An artifact on a volume."""

    kind: Literal["absent", "partial", "ready", "damaged"]
    reason: str = ""
    have: int = 0
    """Bytes of its download that need not be fetched."""
    taken: int = 0
    """Unless it is ready, bytes of the volume that it takes already: of its download, and of its files."""
    unseen: bool = False
    """Damaged in a way that `state_of` does not see."""


def state_of(artifact: Artifact, volume: Volume, listing: Listing) -> State:
    """Looks at the receipt, whether everything it speaks of is still there, and for unfinished downloads."""
    receipt = volume.receipt(artifact.name)
    have = sum(_bytes_of(download, volume) for download in artifact.downloads)
    taken = sum(_space_of(download, volume) for download in artifact.downloads)
    if receipt is None:
        taken += _in_place(artifact, volume, listing)
        return State("partial" if have else "absent", have=have, taken=taken)
    if outdated := _outdated(artifact, receipt):
        return State("damaged", outdated, have, taken)
    damage, left = _damage(artifact, receipt, volume, listing)
    if damage:
        return State("damaged", damage, have, taken + int(left * receipt.unpacked_size))
    return State("ready", have=receipt.size)


def reread_state_of(artifact: Artifact, volume: Volume, listing: Listing) -> State:
    """The same, and every file of it is read and compared with what was verified when it came."""
    state = state_of(artifact, volume, listing)
    receipt = volume.receipt(artifact.name)
    if state.kind != "ready" or receipt is None:
        return state
    changed = _changed_files(artifact, receipt, volume)
    return State("damaged", f"{changed[0]} has changed since it came", unseen=True) if changed else state


def _changed_files(artifact: Artifact, receipt: Receipt, volume: Volume) -> list[str]:
    if artifact.kind in ("archive", "images"):
        entries = read_manifest(volume, artifact.name)
        return [entry.path for entry in entries if crc_of(volume.path(entry.path)) != entry.crc]
    same = sha256_of(volume.path(artifact.destination)) == receipt.sha256
    return [] if same else [artifact.destination]


def _outdated(artifact: Artifact, receipt: Receipt) -> str:
    if artifact.destination != receipt.destination:
        return f"it is in {receipt.destination}, the catalogue says {artifact.destination}"
    promised = _promised_sha256(artifact)
    if promised and promised != receipt.sha256:
        return "the catalogue has another version (sha256)"
    if artifact.revision != receipt.revision:
        return "the catalogue has another revision"
    return ""


def _promised_sha256(artifact: Artifact) -> str | None:
    promised = [download.sha256 for download in artifact.downloads]
    if not promised or None in promised:
        return None
    return sha256_of_all([sha256 for sha256 in promised if sha256])


def _damage(artifact: Artifact, receipt: Receipt, volume: Volume, listing: Listing) -> tuple[str, float]:
    """What is wrong with it, or nothing; and which share of its files is in place."""
    if artifact.kind in ("annotations", "file"):
        size = listing.size(artifact.destination)
        if size is None:
            return f"{artifact.destination} is gone", 0
        same = size == receipt.size
        return "" if same else f"{artifact.destination} has {size} bytes, not {receipt.size}", 0
    if artifact.kind == "images" and not volume.archive(artifact.name).is_file():
        return "the list of its images is gone", 0
    try:
        files = manifest_table(volume, artifact.name).column("path")
        missing = listing.missing_of(files)
    except FileNotFoundError:
        return "the list of its files is gone", 0
    except ValueError:
        return "the list of its files is damaged", 0
    if artifact.kind == "archive" and len(files) != receipt.files:
        return "the list of its files is damaged", 0
    if not missing:
        return "", 1
    reason = f"{len(missing)} of {len(files)} files are gone, the first: {missing[0]}"
    return reason, 1 - len(missing) / len(files)


def _bytes_of(download: Artifact, volume: Volume) -> int:
    name = download.name
    archive = volume.archive(name), volume.archive_state(name)
    partial = volume.partial(name), volume.partial_state(name)
    for path, state in (archive, partial):
        record = read_record(state)
        if record and path.exists():
            return bytes_here(record, path)
    return 0


def _space_of(download: Artifact, volume: Volume) -> int:
    return space_of(volume.archive(download.name)) + space_of(volume.partial(download.name))


def _in_place(artifact: Artifact, volume: Volume, listing: Listing) -> int:
    """Bytes of the files that an unpacking which was interrupted has put in place."""
    paths = [volume.archive(download.name) for download in artifact.downloads]
    if artifact.kind != "archive" or not paths or not all(path.is_file() for path in paths):
        return 0
    try:
        members = read_members(paths, LayoutRule.of(artifact))
    except BadArchiveError:
        return 0
    before = f"{artifact.destination}/" if artifact.destination else ""
    return sum(member.size for member in members if listing.has(before + member.target))

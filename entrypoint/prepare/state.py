"""How far an artifact is: absent, partial, ready or damaged, judged by its receipt and the disk."""

from dataclasses import dataclass
from typing import Literal

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.install import digest
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.manifest import manifest_table, read_manifest
from entrypoint.prepare.transport.download import bytes_here, read_record, sha256_of
from entrypoint.prepare.unpack.extract import crc_of
from entrypoint.volume import Receipt, Volume


@dataclass(frozen=True)
class State:
    """An artifact on a volume."""

    kind: Literal["absent", "partial", "ready", "damaged"]
    reason: str = ""
    have: int = 0
    """Bytes of its download that need not be fetched."""


def state_of(artifact: Artifact, volume: Volume, listing: Listing) -> State:
    """Looks at the receipt, then whether everything it speaks of is still there, then for beginnings."""
    receipt = volume.receipt(artifact.name)
    have = _bytes_here(artifact, volume)
    if receipt is not None:
        damage = _outdated(artifact, receipt) or _damage(artifact, receipt, volume, listing)
        return State("damaged", damage, have) if damage else State("ready", have=receipt.size)
    return State("partial", have=have) if have else State("absent")


def reread_state_of(artifact: Artifact, volume: Volume, listing: Listing) -> State:
    """The same, and every file of it is read and compared with what was verified when it came."""
    state = state_of(artifact, volume, listing)
    receipt = volume.receipt(artifact.name)
    if state.kind != "ready" or receipt is None:
        return state
    changed = _changed_files(artifact, receipt, volume)
    return State("damaged", f"{changed[0]} has changed since it came") if changed else state


def _changed_files(artifact: Artifact, receipt: Receipt, volume: Volume) -> list[str]:
    if artifact.kind in ("archive", "images"):
        entries = read_manifest(volume, artifact.name)
        return [entry.path for entry in entries if crc_of(volume.path(entry.path)) != entry.crc]
    with volume.path(artifact.destination).open("rb") as file:
        same = sha256_of(file, lambda done: None) == receipt.sha256
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
    return digest([sha256 for sha256 in promised if sha256])


def _damage(artifact: Artifact, receipt: Receipt, volume: Volume, listing: Listing) -> str:
    if artifact.kind in ("annotations", "file"):
        size = listing.size(artifact.destination)
        if size is None:
            return f"{artifact.destination} is gone"
        return "" if size == receipt.size else f"{artifact.destination} has {size} bytes, not {receipt.size}"
    if artifact.kind == "images" and not volume.archive(artifact.name).is_file():
        return "the list of its images is gone"
    try:
        files = manifest_table(volume, artifact.name).column("path")
        missing = listing.missing_of(files)
    except FileNotFoundError:
        return "the list of its files is gone"
    return f"{len(missing)} of {len(files)} files are gone, the first: {missing[0]}" if missing else ""


def _bytes_here(artifact: Artifact, volume: Volume) -> int:
    return sum(_bytes_of(download, volume) for download in artifact.downloads)


def _bytes_of(download: Artifact, volume: Volume) -> int:
    for path in (volume.archive(download.name), volume.partial(download.name)):
        record = read_record(path.with_name(f"{download.name}.json"))
        if record and path.exists():
            return bytes_here(record, path)
    return 0

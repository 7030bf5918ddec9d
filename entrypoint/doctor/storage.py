"""The data volume: can it be written, what room is left."""

from entrypoint import console
from entrypoint.doctor.finding import Finding, fail, ok, warn
from entrypoint.volume import Volume
from libmoe.config.errors import VolumeError

ROOM_BYTES = 100 * 10**9
"""Stage 1 takes 62 GiB at its peak, all stages some hundreds (`prepare --dry-run` says it exactly)."""

ROOM_FILES = 600_000
"""One file per image: stage 1 alone has 558,000."""


def storage_findings(volume: Volume) -> list[Finding]:
    """Writability, bytes, inodes; creates nothing."""
    if not volume.root.is_dir():
        remedy = "Mount the volume there (docker run -v DIR:/data), or name it with --data-dir."
        return [fail("data volume", f"there is no folder {volume.root}", remedy)]
    try:
        volume.check()
    except VolumeError as error:
        return [fail("data volume", str(volume.root), str(error))]
    return [ok("data volume", f"{volume.root} can be written"), _bytes(volume), _inodes(volume)]


def _bytes(volume: Volume) -> Finding:
    free = volume.free_bytes()
    if free is None:
        return warn("disk", "the file system does not say", "Make sure yourself that there is enough room.")
    if free < ROOM_BYTES:
        remedy = "Mount a larger volume; `libmoe prepare --dry-run` says what a selection takes."
        return warn("disk", f"{console.size(free)} free", remedy)
    return ok("disk", f"{console.size(free)} free")


def _inodes(volume: Volume) -> Finding:
    free = volume.free_inodes()
    if free is None:
        return ok("inodes", "no limit known")
    if free < ROOM_FILES:
        remedy = "Use a file system with more inodes (XFS, or mkfs.ext4 -i 16384): every image is a file."
        return warn("inodes", f"{free} free", remedy)
    return ok("inodes", f"{free} free")

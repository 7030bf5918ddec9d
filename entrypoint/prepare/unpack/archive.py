"""Reads the directory of a zip, trusting nothing it says: what is in it, and where that may go."""

import io
import stat
import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from entrypoint.prepare.unpack.joined import Joined
from entrypoint.prepare.unpack.layout import is_junk, targets
from entrypoint.volume_paths import OURS
from libmoe.config.errors import DataError

if TYPE_CHECKING:
    from entrypoint.catalog.schema import Artifact

_ENCRYPTED = 0x1
STORED, DEFLATED = 0, 8
_DEFLATE_AT_BEST = 1032
"""A deflated byte never becomes more than this many."""
_LONGEST_NAME = 255
_SURELY_SHORT = _LONGEST_NAME // 4
"""A character takes four bytes at most."""


class BadArchiveError(DataError):
    """An archive that cannot be trusted or read; the message names the member."""


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    target: str
    """Where it goes, relative to the archive's destination."""
    offset: int
    compressed: int
    size: int
    crc: int
    method: int


@dataclass(frozen=True)
class LayoutRule:
    """How an archive's paths become the volume's; see `layout.targets`."""

    destination: str
    layout: str = "tree"
    strip: str = ""
    case_matters: bool = True
    """Whether the volume tells ``A`` from ``a``."""

    @classmethod
    def of(cls, artifact: "Artifact", case_matters: bool = True) -> "LayoutRule":
        """As the catalogue says."""
        return cls(artifact.destination, artifact.layout, artifact.strip, case_matters)


def read_members(paths: Sequence[Path], rule: LayoutRule) -> list[Member]:
    """The files of a zip in the order they are stored.

    Args:
        paths: the archive, or the parts it was cut into in their order.

    Raises:
        BadArchiveError: it is not a zip, is cut off, or holds what must not be unpacked.
    """
    try:
        with Joined(paths) as file, zipfile.ZipFile(io.BufferedReader(file)) as archive:
            whole_size = file.size
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise BadArchiveError(f"it is not a complete zip ({error})") from error
    infos.sort(key=lambda info: info.header_offset)
    for info in infos:
        _refuse_hostile(info)
    infos = [info for info in infos if not is_junk(info.filename)]
    places = targets([info.filename for info in infos], rule.destination, rule.layout, rule.strip)
    members = []
    for info, target in zip(infos, places, strict=True):
        if not rule.destination and target.split("/", 1)[0] in OURS:
            raise BadArchiveError(f"member {info.filename!r} would go where libmoe keeps its own files")
        where = info.header_offset, info.compress_size
        members.append(Member(info.filename, target, *where, info.file_size, info.CRC, info.compress_type))
    if sum(member.compressed for member in members) > whole_size:
        raise BadArchiveError("its members overlap: they claim more bytes than it has")
    return _without_twins(members, rule.case_matters)


def _refuse_hostile(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    mode = info.external_attr >> 16
    parts = name.split("/")
    reason = ""
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        reason = "has an absolute path"
    elif ".." in parts or "\\" in name or "\0" in name or "\n" in name:
        reason = "has a path that leads outside its folder or is not valid"
    elif not name.isprintable() and min(name) < " ":
        reason = "has control characters in its name"
    elif len(name) > _SURELY_SHORT and _longest(parts) > _LONGEST_NAME:
        reason = f"has a name longer than {_LONGEST_NAME} bytes"
    elif "" in parts or "." in parts:
        reason = "has a path with empty parts"
    elif stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        reason = "is a link or a device"
    elif info.flag_bits & _ENCRYPTED:
        reason = "is encrypted"
    elif info.compress_type not in (STORED, DEFLATED):
        reason = f"is compressed by method {info.compress_type}"
    elif info.file_size > _DEFLATE_AT_BEST * (info.compress_size + 1):
        reason = "promises more bytes than it can hold"
    if reason:
        raise BadArchiveError(f"member {name!r} {reason}")


def _longest(parts: Sequence[str]) -> int:
    """Bytes of the longest."""
    return max(len(part.encode(errors="surrogateescape")) for part in parts)


def _without_twins(members: Sequence[Member], case_matters: bool) -> list[Member]:
    """One member per target; two that differ are an error, as is a file where another needs a folder."""
    kept: dict[str, Member] = {}
    for member in members:
        target = member.target if case_matters else member.target.casefold()
        twin = kept.setdefault(target, member)
        if twin is member:
            continue
        if twin.target != member.target:
            raise BadArchiveError(
                f"members {twin.name!r} and {member.name!r} differ only in case, "
                "which this volume does not tell apart"
            )
        if (twin.size, twin.crc) != (member.size, member.crc):
            raise BadArchiveError(f"members {twin.name!r} and {member.name!r} would be the same file")
    folders = {above for folder in {target.rpartition("/")[0] for target in kept} for above in _above(folder)}
    for target in kept:
        if target in folders:
            raise BadArchiveError(f"member {kept[target].name!r} is both a file and a folder")
    return list(kept.values())


def _above(folder: str) -> Iterator[str]:
    """The folder and those it is in."""
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]

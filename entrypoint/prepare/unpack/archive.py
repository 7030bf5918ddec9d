"""Reads a zip, trusting nothing it says of itself: what is in it, where that may go, a member's bytes."""

import posixpath
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from entrypoint.catalog.schema import OURS, Artifact
from entrypoint.prepare.unpack.joined import joined_size, open_joined
from entrypoint.prepare.unpack.layout import is_junk, targets
from libmoe.config.errors import DataError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8
_DEFLATE_AT_BEST = 1032
"""No deflated byte becomes more than so many."""
_LONGEST_NAME = 255
_CHUNK = 1 << 22


class BadArchiveError(DataError):
    """An archive that cannot be trusted or read; the message names the member."""


@dataclass(frozen=True, slots=True)
class Member:
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
    def of(cls, artifact: Artifact, case_matters: bool = True) -> "LayoutRule":
        """As the catalogue says."""
        return cls(artifact.destination, artifact.layout, artifact.strip, case_matters)


def read_members(paths: Sequence[Path], rule: LayoutRule) -> list[Member]:
    """The files of a zip in the order they are stored.

    Args:
        paths: the archive, or the parts it was cut into in their order.

    Raises:
        BadArchiveError: it is no zip, is cut off, or holds what must not be unpacked.
    """
    try:
        with open_joined(paths) as file, zipfile.ZipFile(file) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise BadArchiveError(f"it is no whole zip ({error})") from error
    infos.sort(key=lambda info: info.header_offset)
    for info in infos:
        _refuse_hostile(info)
    infos = [info for info in infos if not is_junk(info.filename)]
    places = targets([info.filename for info in infos], rule.destination, rule.layout, rule.strip)
    for info, place in zip(infos, places, strict=True):
        if not rule.destination and place.split("/")[0] in OURS:
            raise BadArchiveError(f"member {info.filename!r} would go where libmoe keeps its own files")
    members = [
        Member(
            name=info.filename,
            target=target,
            offset=info.header_offset,
            compressed=info.compress_size,
            size=info.file_size,
            crc=info.CRC,
            method=info.compress_type,
        )
        for info, target in zip(infos, places, strict=True)
    ]
    if sum(member.compressed for member in members) > joined_size(paths):
        raise BadArchiveError("its members overlap: they claim more bytes than it has")
    return _without_twins(members, rule.case_matters)


def read_chunks(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """The bytes of a member, checked against what the archive promises.

    Raises:
        BadArchiveError: damaged, cut off, or larger than promised.
    """
    crc, size = 0, 0
    for chunk in _inflated(file, member):
        size += len(chunk)
        if size > member.size:
            raise BadArchiveError(f"member {member.name!r} is larger than it promises")
        crc = zlib.crc32(chunk, crc)
        yield chunk
    if size != member.size or crc != member.crc:
        raise BadArchiveError(f"member {member.name!r} is damaged")


def _inflated(file: BinaryIO, member: Member) -> Iterator[bytes]:
    raw = _raw(file, member)
    if member.method == _STORED:
        yield from raw
        return
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in raw:
            rest = piece
            while rest and not inflate.eof:
                yield inflate.decompress(rest, _CHUNK)
                rest = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error as error:
        raise BadArchiveError(f"member {member.name!r} is damaged ({error})") from error


def _raw(file: BinaryIO, member: Member) -> Iterator[bytes]:
    file.seek(member.offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_SIGNATURE):
        raise BadArchiveError(f"member {member.name!r} is not where the archive says it is")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    file.seek(name_length + extra_length, 1)
    left = member.compressed
    while left:
        piece = file.read(min(left, _CHUNK))
        if not piece:
            raise BadArchiveError(f"member {member.name!r} is cut off")
        left -= len(piece)
        yield piece


def _refuse_hostile(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    mode = info.external_attr >> 16
    parts = name.split("/")
    reason = ""
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        reason = "has an absolute path"
    elif ".." in parts or "\\" in name or "\0" in name or "\n" in name:
        reason = "has a path that leads out of its folder or is none"
    elif any(ord(letter) < ord(" ") for letter in name):
        reason = "has control characters in its name"
    elif any(len(part.encode(errors="surrogateescape")) > _LONGEST_NAME for part in parts):
        reason = f"has a name longer than {_LONGEST_NAME} bytes"
    elif "" in parts or "." in parts:
        reason = "has a path with empty parts"
    elif stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        reason = "is a link or a device"
    elif info.flag_bits & _ENCRYPTED:
        reason = "is encrypted"
    elif info.compress_type not in (_STORED, _DEFLATED):
        reason = f"is compressed by method {info.compress_type}"
    elif info.file_size > _DEFLATE_AT_BEST * (info.compress_size + 1):
        reason = "promises more bytes than it can hold"
    if reason:
        raise BadArchiveError(f"member {name!r} {reason}")


def _without_twins(members: Sequence[Member], case_matters: bool) -> list[Member]:
    """One member a target; two that differ are an error, as is a file where another needs a folder."""
    fold = str if case_matters else str.casefold
    kept: dict[str, Member] = {}
    for member in members:
        twin = kept.setdefault(fold(member.target), member)
        if twin.target != member.target:
            raise BadArchiveError(
                f"members {twin.name!r} and {member.name!r} differ in case only, "
                "which this volume does not tell apart"
            )
        if (twin.size, twin.crc) != (member.size, member.crc):
            raise BadArchiveError(f"members {twin.name!r} and {member.name!r} would be the same file")
    folders = {parent for target in kept for parent in _parents(target)}
    for target in kept:
        if target in folders:
            raise BadArchiveError(f"member {kept[target].name!r} is a file and a folder")
    return list(kept.values())


def _parents(target: str) -> Iterator[str]:
    while target := posixpath.dirname(target):
        yield target

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

from libmoe.config.errors import DataError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8
_DEFLATE_AT_BEST = 1032
"""No deflated byte becomes more than so many."""
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


def read_members(path: Path, layout: str, strip: str) -> list[Member]:
    """The files of a zip in the order they are stored.

    Args:
        layout: ``tree`` keeps inner paths, ``flatten`` keeps the names alone.
        strip: a top folder that is taken off when everything is below it.

    Raises:
        BadArchiveError: it is no zip, is cut off, or holds what must not be unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise BadArchiveError(f"it is no whole zip ({error})") from error
    infos.sort(key=lambda info: info.header_offset)
    for info in infos:
        _refuse_hostile(info)
    prefix = strip.strip("/") + "/"
    stripped = len(prefix) if strip and all(info.filename.startswith(prefix) for info in infos) else 0
    members = [
        Member(
            name=info.filename,
            target=posixpath.basename(info.filename) if layout == "flatten" else info.filename[stripped:],
            offset=info.header_offset,
            compressed=info.compress_size,
            size=info.file_size,
            crc=info.CRC,
            method=info.compress_type,
        )
        for info in infos
    ]
    if sum(member.compressed for member in members) > path.stat().st_size:
        raise BadArchiveError("its members overlap: they claim more bytes than it has")
    return _without_twins(members)


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


def _without_twins(members: Sequence[Member]) -> list[Member]:
    """One member a target; two that differ are an error, as is a file where another needs a folder."""
    kept: dict[str, Member] = {}
    for member in members:
        twin = kept.setdefault(member.target, member)
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

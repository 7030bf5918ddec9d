"""A member's bytes, checked against what the archive promises of them.

What is of a picture's size is read and inflated at once, by libdeflate; what is larger comes in pieces,
through zlib, so that memory stays bounded. Other threads run meanwhile.
"""

import struct
import zlib
from collections.abc import Iterator

import deflate

from entrypoint.prepare.unpack.archive import STORED, BadArchiveError, Member
from entrypoint.prepare.unpack.joined import Joined

PIECE = 1 << 24
"""Bytes that are held at once, of a member as it is stored and as it is written."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"


def read_pieces(archive: Joined, member: Member) -> Iterator[bytes | bytearray]:
    """The bytes of a member.

    Raises:
        BadArchiveError: damaged, cut off, or larger than promised; at the end at the latest.
    """
    crc, size = 0, 0
    for piece in _inflated(archive, member):
        size += len(piece)
        if size > member.size:
            raise BadArchiveError(f"member {member.name!r} is larger than it promises")
        crc = deflate.crc32(piece, crc)
        yield piece
    if size != member.size or crc != member.crc:
        raise BadArchiveError(f"member {member.name!r} is damaged")


def _inflated(archive: Joined, member: Member) -> Iterator[bytes | bytearray]:
    stored = _stored(archive, member)
    if member.method == STORED:
        return stored
    if max(member.size, member.compressed) <= PIECE:
        return _inflated_at_once(b"".join(stored), member)
    return _inflated_in_pieces(stored, member)


def _inflated_at_once(stored: bytes, member: Member) -> Iterator[bytearray]:
    try:
        yield deflate.deflate_decompress(stored, member.size)
    except deflate.DeflateError as error:
        raise BadArchiveError(f"member {member.name!r} is damaged or larger than it promises") from error


def _inflated_in_pieces(stored: Iterator[bytes], member: Member) -> Iterator[bytes]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in stored:
            rest = piece
            while rest and not inflate.eof:
                yield inflate.decompress(rest, PIECE)
                rest = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error as error:
        raise BadArchiveError(f"member {member.name!r} is damaged ({error})") from error


def _stored(archive: Joined, member: Member) -> Iterator[bytes]:
    header = archive.read_at(member.offset, _LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_SIGNATURE):
        raise BadArchiveError(f"member {member.name!r} is not where the archive says it is")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start = member.offset + _LOCAL_HEADER.size + name_length + extra_length
    for done in range(0, member.compressed, PIECE):
        size = min(member.compressed - done, PIECE)
        piece = archive.read_at(start + done, size)
        if len(piece) < size:
            raise BadArchiveError(f"member {member.name!r} is cut off")
        yield piece

"""Reads aria2's control file: how much of a partial download is there.

Layout (aria2's technical notes, version 1): u16 version, u32 extension, u32 length and bytes of an info hash,
u32 piece length, u64 total length, u64 upload length, u32 length and bytes of the bitfield of pieces.
"""

import struct
from pathlib import Path


def control_path(partial: Path) -> Path:
    """aria2's control file of a partial download."""
    return partial.with_name(partial.name + ".aria2")


def bytes_done(partial: Path) -> int:
    """Bytes in whole pieces; 0 without a control file, because then nothing can be told."""
    try:
        data = control_path(partial).read_bytes()
        (hash_length,) = struct.unpack_from(">I", data, 6)
        at = 10 + hash_length
        piece, total, _, bitfield_length = struct.unpack_from(">IQQI", data, at)
        bitfield = data[at + 24 : at + 24 + bitfield_length]
    except (OSError, struct.error):
        return 0
    pieces = sum(byte.bit_count() for byte in bitfield)
    return min(pieces * piece, total)

"""Reads aria2's control file: how much of a partial download is there; and keeps the last good one.

On a full volume aria2 replaces it by an empty one, with which it starts no more. Layout (aria2's technical
notes, version 1): u16 version, u32 extension, u32 length and bytes of an info hash, u32 piece length, u64
total length, u64 upload length, u32 length and bytes of the bitfield of pieces.
"""

import contextlib
import struct
from pathlib import Path


def control_path(partial: Path) -> Path:
    """aria2's control file of a partial download."""
    return partial.with_name(partial.name + ".aria2")


def bytes_done(partial: Path) -> int:
    """Bytes in whole pieces; 0 without a control file, because then nothing can be told."""
    return _done(control_path(partial)) or _done(_kept(partial)) or 0


def keep_control(partial: Path) -> None:
    """Remembers the control file as it is now, if it is whole. It is a second name: that takes no space."""
    control, kept, draft = control_path(partial), _kept(partial), _draft(partial)
    with contextlib.suppress(OSError):  # no control file yet, or no room for a name
        if kept.exists() and kept.samefile(control):
            return
        draft.unlink(missing_ok=True)
        draft.hardlink_to(control)
        if _done(draft) is not None:
            draft.replace(kept)
    draft.unlink(missing_ok=True)


def mend_control(partial: Path) -> bool:
    """Puts the last good control file in the place of a broken one; whether there is a good one now."""
    control, kept = control_path(partial), _kept(partial)
    if _done(control) is None and _done(kept) is not None:
        kept.replace(control)
    return _done(control) is not None


def drop_control(partial: Path) -> None:
    """Forgets which pieces are there."""
    for path in (control_path(partial), _kept(partial), _draft(partial)):
        path.unlink(missing_ok=True)


def _kept(partial: Path) -> Path:
    return partial.with_name(partial.name + ".aria2.kept")


def _draft(partial: Path) -> Path:
    return partial.with_name(partial.name + ".aria2.new")


def _done(control: Path) -> int | None:
    """Bytes in whole pieces; None where the file is missing or broken."""
    try:
        data = control.read_bytes()
        (hash_length,) = struct.unpack_from(">I", data, 6)
        at = 10 + hash_length
        piece, total, _, bitfield_length = struct.unpack_from(">IQQI", data, at)
    except (OSError, struct.error):
        return None
    bitfield = data[at + 24 : at + 24 + bitfield_length]
    if not piece or len(bitfield) < bitfield_length:
        return None
    pieces = sum(byte.bit_count() for byte in bitfield)
    return min(pieces * piece, total)

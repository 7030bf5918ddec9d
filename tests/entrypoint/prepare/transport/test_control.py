"""aria2's control file."""

import struct

from entrypoint.prepare.transport.control import (
    bytes_done,
    control_path,
    drop_control,
    keep_control,
    mend_control,
)


def write(partial, bitfield: bytes, piece: int = 1000, total: int = 15_500, info_hash: bytes = b"") -> None:
    head = struct.pack(">HII", 1, 0, len(info_hash)) + info_hash
    control_path(partial).write_bytes(head + struct.pack(">IQQI", piece, total, 0, len(bitfield)) + bitfield)


def test_whole_pieces_are_counted(tmp_path):
    partial = tmp_path / "a.zip"
    write(partial, b"\xa0\x00")
    assert bytes_done(partial) == 2000
    write(partial, b"\xa0\x00", info_hash=b"x" * 20)
    assert bytes_done(partial) == 2000


def test_the_last_piece_is_shorter(tmp_path):
    write(tmp_path / "a", b"\xff\xff")
    assert bytes_done(tmp_path / "a") == 15_500


def test_what_cannot_be_read_counts_for_nothing(tmp_path):
    assert bytes_done(tmp_path / "a") == 0
    control_path(tmp_path / "a").write_bytes(b"short")
    assert bytes_done(tmp_path / "a") == 0


def replaced(partial, content: bytes) -> None:
    """As aria2 does it."""
    draft = partial.with_name("draft")
    draft.write_bytes(content)
    draft.replace(control_path(partial))


def test_a_broken_control_file_is_replaced_by_the_last_good_one(tmp_path):
    partial = tmp_path / "a"
    keep_control(partial)
    assert not mend_control(partial)
    for bitfield in (b"\x80\x00", b"\xc0\x00"):
        write(tmp_path / "new", bitfield)
        control_path(tmp_path / "new").replace(control_path(partial))
        keep_control(partial)
    for broken in (b"", b"\0" * 60, control_path(partial).read_bytes()[:-1]):
        replaced(partial, broken)
        keep_control(partial)
        assert bytes_done(partial) == 2000
        assert mend_control(partial)
        assert bytes_done(partial) == 2000
        keep_control(partial)
    drop_control(partial)
    assert list(tmp_path.iterdir()) == []

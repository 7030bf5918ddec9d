"""aria2's control file."""

import struct

from entrypoint.prepare.transport.control import bytes_done, control_path


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

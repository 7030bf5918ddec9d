"""What is in a zip's members: whole, in parts, damaged, larger than promised."""

import random
import zipfile

import pytest

from entrypoint.prepare.unpack.archive import BadArchiveError, LayoutRule, read_members
from entrypoint.prepare.unpack.content import PIECE, read_pieces
from entrypoint.prepare.unpack.extract import Unpacking
from entrypoint.prepare.unpack.joined import Joined
from tests.entrypoint.prepare.unpack.test_archive import make, patched, unpack

LARGE = PIECE + 12_345


def test_a_member_larger_than_it_promises_stops_at_its_promise(tmp_path):
    path = patched(make(tmp_path / "a.zip", {"bomb": bytes(30 << 20)}), 24, "<I", 5000)
    with pytest.raises(BadArchiveError, match="'bomb' is damaged or larger than it promises"):
        unpack(path, tmp_path)
    assert not (tmp_path / "out/bomb").exists()


def test_a_flipped_byte_is_found(tmp_path):
    path = make(tmp_path / "a.zip", {"a": b"A" * 100, "b": b"B" * 100}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"BBBB", b"BCBB", 1))
    with pytest.raises(BadArchiveError, match="'b' is damaged"):
        unpack(path, tmp_path)
    assert not (tmp_path / "out/b").exists()
    assert (tmp_path / "out/a").read_bytes() == b"A" * 100


def test_a_deflated_stream_that_is_nonsense(tmp_path):
    path = make(tmp_path / "a.zip", {"a": bytes(range(256)) * 4})
    data = bytearray(path.read_bytes())
    data[31:60] = b"\xff" * 29
    path.write_bytes(data)
    with pytest.raises(BadArchiveError, match="'a' is damaged"):
        unpack(path, tmp_path)


def test_parts_are_unpacked_as_the_whole_is(tmp_path):
    files = {f"{n % 3}/{n}.bin": bytes([n]) * (n * 2000) for n in range(40)}
    content = make(tmp_path / "a.zip", files, zipfile.ZIP_STORED).read_bytes()
    step = len(content) // 7 + 1
    parts = [tmp_path / f"part{n}" for n in range(7)]
    for number, part in enumerate(parts):
        part.write_bytes(content[number * step : (number + 1) * step])
    members = read_members(parts, LayoutRule(""))
    Unpacking(tuple(parts), tmp_path / "out", tmp_path / "aside").run(members, 2, lambda done: None)
    assert {
        str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*.bin")
    } == files


def test_parts_in_the_wrong_order_are_no_archive(tmp_path):
    files = {f"{n}.bin": bytes([n]) * 3000 for n in range(20)}
    content = make(tmp_path / "a.zip", files, zipfile.ZIP_STORED).read_bytes()
    parts = [tmp_path / f"part{n}" for n in range(3)]
    for part, piece in zip(parts, (content[20_000:40_000], content[:20_000], content[40_000:]), strict=True):
        part.write_bytes(piece)
    members = read_members(parts, LayoutRule(""))
    with pytest.raises(BadArchiveError, match=r"member '0.bin' is not where the archive says it is"):
        Unpacking(tuple(parts), tmp_path / "out", tmp_path / "aside").run(members, 1, lambda done: None)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_larger_than_a_piece_is_whole_and_is_never_held_at_once(tmp_path, method):
    content = random.Random(1).randbytes(1 << 16) * (LARGE // (1 << 16) + 1)
    path = make(tmp_path / "a.zip", {"large": content, "small": b"x"}, method)
    members = read_members([path], LayoutRule(""))
    with Joined([path]) as archive:
        sizes = [len(piece) for piece in read_pieces(archive, members[0])]
    assert max(sizes) <= PIECE
    assert unpack(path, tmp_path, jobs=2) == {"large": content, "small": b"x"}


def test_a_large_member_that_is_damaged_or_larger_than_it_promises(tmp_path):
    path = patched(make(tmp_path / "a.zip", {"bomb": bytes(3 * PIECE)}), 24, "<I", PIECE + 1)
    with pytest.raises(BadArchiveError, match="'bomb' is larger than it promises"):
        unpack(path, tmp_path)
    damaged = make(tmp_path / "a.zip", {"a": random.Random(1).randbytes(LARGE)}, zipfile.ZIP_STORED)
    content = bytearray(damaged.read_bytes())
    content[LARGE] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(BadArchiveError, match="'a' is damaged"):
        unpack(damaged, tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_an_archive_that_shrinks_after_it_was_listed(tmp_path):
    path = make(tmp_path / "a.zip", {"a": b"A" * 5000}, zipfile.ZIP_STORED)
    members = read_members([path], LayoutRule(""))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BadArchiveError, match="'a' is cut off"):
        Unpacking((path,), tmp_path / "out", tmp_path / "aside").run(members, 1, lambda done: None)

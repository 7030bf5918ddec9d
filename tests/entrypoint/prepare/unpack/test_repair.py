"""Pictures that go by a JPEG's name."""

import io
import zipfile

import pytest
from PIL import Image

from entrypoint.prepare.unpack.archive import LayoutRule, read_members
from entrypoint.prepare.unpack.extract import Unpacking
from entrypoint.prepare.unpack.repair import as_jpeg, format_of


def drawn(kind: str, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.effect_noise((24, 16), 60).convert(mode).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("GIF", "P"), ("WEBP", "RGB"), ("BMP", "RGB")]
)
def test_a_picture_becomes_the_same_jpeg_every_time(tmp_path, kind, mode):
    content = drawn(kind, mode)
    assert format_of(content[:16]) == kind.lower()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.jpg", content)
        archive.writestr("2.png", content)
        archive.writestr("3.jpg", drawn("JPEG"))
    members = read_members([tmp_path / "a.zip"], LayoutRule(""))
    unpacking = Unpacking((tmp_path / "a.zip",), tmp_path / "out", tmp_path / "aside")
    repaired = unpacking.run(members, 2, lambda done: None)
    assert [(one.target, one.was) for one in repaired] == [("1.jpg", kind.lower())]
    first = (tmp_path / "out/1.jpg").read_bytes()
    assert (format_of(first[:16]), len(first)) == ("jpeg", repaired[0].size)
    assert (tmp_path / "out/2.png").read_bytes() == content
    assert unpacking.run(members, 1, lambda done: None) == repaired
    assert (tmp_path / "out/1.jpg").read_bytes() == first


def test_what_does_not_decode_stays_as_it_came(tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(drawn("PNG")[:60])
    assert as_jpeg(path) is None


@pytest.mark.parametrize("head", [b"", b"\x00" * 16, b"<html>", b"RIFF1234WAVE"])
def test_what_is_no_picture(head):
    assert format_of(head) is None

"""Zips: layouts, damage, hostility."""

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from entrypoint.prepare.unpack.archive import BadArchiveError, LayoutRule, read_members
from entrypoint.prepare.unpack.extract import Unpacking


def unpack(path: Path, into: Path, layout: str = "tree", strip: str = "", jobs: int = 1) -> dict[str, bytes]:
    members = read_members([path], LayoutRule("", layout, strip))
    Unpacking((path,), into / "out", into / "aside").run(members, jobs, lambda done: None)
    return {
        str(p.relative_to(into / "out")): p.read_bytes() for p in (into / "out").rglob("*") if p.is_file()
    }


def make(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("jobs", [1, 2])
def test_contents_are_those_of_the_standard_library(tmp_path, method, jobs):
    files = {f"{n % 7}/{n}.bin": bytes([n % 256]) * (n * 37) for n in range(1100)}
    files["big/one.bin"] = bytes(range(256)) * 40_000
    assert unpack(make(tmp_path / "a.zip", files, method), tmp_path, jobs=jobs) == files
    assert not (tmp_path / "aside").exists()


@pytest.mark.parametrize(
    ("layout", "strip", "inside", "targets"),
    [
        ("tree", "", ["a/1.jpg", "2.jpg"], ["a/1.jpg", "2.jpg"]),
        ("flatten", "", ["a/b/1.jpg", "2.jpg"], ["1.jpg", "2.jpg"]),
        ("tree", "images", ["images/0/1.jpg", "images/1/2.jpg"], ["0/1.jpg", "1/2.jpg"]),
        ("tree", "images", ["0/1.jpg", "1/2.jpg"], ["0/1.jpg", "1/2.jpg"]),
        ("tree", "images", ["images/1.jpg", "imagesque/2.jpg"], ["images/1.jpg", "imagesque/2.jpg"]),
        ("tree", "a/b", ["a/b/1.jpg"], ["1.jpg"]),
    ],
)
def test_layouts(tmp_path, layout, strip, inside, targets):
    path = make(tmp_path / "a.zip", dict.fromkeys(inside, b"x"))
    assert [member.target for member in read_members([path], LayoutRule("", layout, strip))] == targets


def test_folders_and_empty_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/", b"")
        archive.writestr("folder/empty", b"")
    assert unpack(tmp_path / "a.zip", tmp_path) == {"folder/empty": b""}


def named(name: str, **attributes) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


HOSTILE = {
    "up": (named("../evil.txt"), "leads out"),
    "up inside": (named("a/../../evil.txt"), "leads out"),
    "absolute": (named("/etc/evil"), "absolute"),
    "drive": (named("C:/evil"), "absolute"),
    "backslash": (named("..\\evil"), "leads out"),
    "newline": (named("a\nb"), "leads out"),
    "empty part": (named("a//b"), "empty parts"),
    "link": (named("link", external_attr=(stat.S_IFLNK | 0o777) << 16), "link or a device"),
    "device": (named("null", external_attr=(stat.S_IFCHR | 0o666) << 16), "link or a device"),
    "control character": (named("a\rb"), "control characters"),
    "a name too long": (named("n" * 256), "longer than 255 bytes"),
    "ours": (named(".libmoe/receipts/x.json"), "keeps its own files"),
    "our runs": (named("runs/x"), "keeps its own files"),
    "fifo": (named("pipe", external_attr=(stat.S_IFIFO | 0o666) << 16), "link or a device"),
    "socket": (named("sock", external_attr=(stat.S_IFSOCK | 0o666) << 16), "link or a device"),
    "lzma": (named("a.xz", compress_type=zipfile.ZIP_LZMA), "compressed by method 14"),
    "dot": (named("./a"), "empty parts"),
    "bzip2": (named("a.bz2", compress_type=zipfile.ZIP_BZIP2), "compressed by method 12"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_member_is_named_and_nothing_is_written(tmp_path, case):
    info, words = HOSTILE[case]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good.txt", b"good")
        archive.writestr(info, b"evil")
    with pytest.raises(BadArchiveError, match=words) as caught:
        unpack(tmp_path / "a.zip", tmp_path)
    assert repr(info.filename) in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["a.zip"]


def patched(path: Path, offset_in_entry: int, layout: str, value: int) -> Path:
    """Changes a field of the first entry of the central directory."""
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, data.rindex(b"PK\1\2") + offset_in_entry, value)
    path.write_bytes(data)
    return path


def test_an_encrypted_member(tmp_path):
    path = patched(make(tmp_path / "a.zip", {"a": b"secret"}), 8, "<H", 1)
    with pytest.raises(BadArchiveError, match="'a' is encrypted"):
        unpack(path, tmp_path)


def test_a_member_that_promises_more_than_can_be_in_it(tmp_path):
    path = patched(make(tmp_path / "a.zip", {"bomb": b"x"}), 24, "<I", 4_000_000_000)
    with pytest.raises(BadArchiveError, match="'bomb' promises more"):
        unpack(path, tmp_path)


def test_members_that_overlap(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number in range(50):
            archive.writestr(f"{number}", bytes(1000))
        for info in archive.infolist():
            info.header_offset = 0
        kept = archive.infolist()[0]
    data = content.getvalue()
    start = data.index(b"PK\1\2")
    first_entry = 30 + len(kept.filename) + 1000
    directory_size = len(data) - 22 - start
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 50, 50, directory_size, first_entry, 0)
    (tmp_path / "a.zip").write_bytes(data[:first_entry] + data[start : start + directory_size] + end)
    with pytest.raises(BadArchiveError, match="overlap"):
        unpack(tmp_path / "a.zip", tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_cut_archive(tmp_path, keep):
    path = make(tmp_path / "a.zip", {str(n): bytes([n]) * 500 for n in range(20)}, zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(BadArchiveError, match="not a complete zip"):
        read_members([path], LayoutRule(""))


def test_two_members_for_one_file(tmp_path):
    path = make(tmp_path / "a.zip", {"a/1.jpg": b"one", "b/1.jpg": b"other"})
    with pytest.raises(BadArchiveError, match=r"'a/1.jpg' and 'b/1.jpg' would be the same file"):
        read_members([path], LayoutRule("", "flatten"))
    same = make(tmp_path / "b.zip", {"a/1.jpg": b"one", "b/1.jpg": b"one"})
    assert [member.target for member in read_members([same], LayoutRule("", "flatten"))] == ["1.jpg"]


def test_names_that_differ_in_case_only(tmp_path):
    path = make(tmp_path / "a.zip", {"a/One.jpg": b"one", "a/one.jpg": b"one"})
    assert len(read_members([path], LayoutRule(""))) == 2
    with pytest.raises(BadArchiveError, match=r"'a/One.jpg' and 'a/one.jpg' differ only in case"):
        read_members([path], LayoutRule("", case_matters=False))


def test_a_file_and_a_folder_that_differ_in_case_only(tmp_path):
    path = make(tmp_path / "a.zip", {"A": b"file", "a/b": b"below"})
    with pytest.raises(BadArchiveError, match="'A' is both a file and a folder"):
        read_members([path], LayoutRule("", case_matters=False))


def test_a_stop_ends_unpacking_between_batches(tmp_path):
    path = make(tmp_path / "a.zip", {f"{n}": b"x" for n in range(1200)})
    members = read_members([path], LayoutRule(""))

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    for jobs in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            Unpacking((path,), tmp_path / "out", tmp_path / "aside").run(members, jobs, stop)


def test_a_file_where_a_folder_is_needed(tmp_path):
    path = make(tmp_path / "a.zip", {"a": b"file", "a/b": b"below"})
    with pytest.raises(BadArchiveError, match="'a' is both a file and a folder"):
        read_members([path], LayoutRule(""))


def test_what_is_whole_is_not_written_again_and_what_is_not_is(tmp_path):
    path = make(tmp_path / "a.zip", {"good": b"content", "changed": b"content", "short": b"content"})
    out = tmp_path / "out"
    out.mkdir()
    (out / "good").write_bytes(b"content")
    (out / "changed").write_bytes(b"CONTENT")
    (out / "short").write_bytes(b"con")
    before = (out / "good").stat().st_ino
    assert set(unpack(path, tmp_path).values()) == {b"content"}
    assert (out / "good").stat().st_ino == before


def test_leftovers_of_a_killed_run_go_away(tmp_path):
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside/123-4").write_bytes(b"half")
    unpack(make(tmp_path / "a.zip", {"a": b"x"}), tmp_path)
    assert not (tmp_path / "aside").exists()


def test_a_link_that_leads_nowhere_gives_way_to_the_file(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").symlink_to(tmp_path / "nowhere")
    assert unpack(make(tmp_path / "a.zip", {"a": b"x"}), tmp_path) == {"a": b"x"}
    assert not (tmp_path / "out/a").is_symlink()

import io
import zipfile

from entrypoint.sample.archive import zip_bytes

MEMBERS = {"b/two.txt": b"2" * 5000, "a/deep/one.txt": b"1", "top.txt": b""}


def test_members_and_their_folders_come_back_sorted_and_uncompressed():
    with zipfile.ZipFile(io.BytesIO(zip_bytes(MEMBERS))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a/", "a/deep/", "b/", "a/deep/one.txt", "b/two.txt", "top.txt"]
        assert {name: archive.read(name) for name in MEMBERS} == MEMBERS
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert [entry.is_dir() for entry in archive.infolist()] == [True] * 3 + [False] * 3


def test_bytes_do_not_depend_on_the_order_of_the_members():
    assert zip_bytes(MEMBERS) == zip_bytes(dict(reversed(MEMBERS.items())))

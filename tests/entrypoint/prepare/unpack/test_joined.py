"""Files read as the one they were cut from."""

import io
import itertools
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.catalog.schema import natural_key
from entrypoint.prepare.unpack.joined import Joined


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parts")


def cut(folder, content: bytes, cuts: list[int]):
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    paths = []
    for number, (start, stop) in enumerate(itertools.pairwise(edges)):
        path = folder / f"part{number}"
        path.write_bytes(content[start:stop])
        paths.append(path)
    return paths


@given(
    content=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    steps=st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(-50, 400), st.integers(0, 120))),
)
def test_it_reads_as_the_whole_does(folder, content, cuts, steps):
    paths = cut(folder, content, cuts)
    whole = io.BytesIO(content)
    with Joined(paths) as joined:
        assert joined.size == len(content)
        for whence, offset, length in steps:
            base = [0, whole.tell(), len(content)][whence]
            if base + offset < 0:
                continue
            assert joined.seek(offset, whence) == whole.seek(offset, whence)
            assert joined.read(length) == whole.read(length)
            assert joined.tell() == whole.tell()
        joined.seek(0)
        assert joined.read() == content


@given(cuts=st.lists(st.integers(0, 3000), min_size=1, max_size=8))
def test_a_zip_cut_anywhere_reads_as_one(folder, cuts):
    content = io.BytesIO()
    files = {f"f/{number}.bin": bytes([number]) * 97 * number for number in range(9)}
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with Joined(cut(folder, content.getvalue(), cuts)) as joined, zipfile.ZipFile(joined) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


@given(numbers=st.lists(st.integers(0, 10**6), unique=True))
def test_parts_are_in_the_order_of_their_numbers(numbers):
    names = [f"image_part_{number}.zip.part" for number in numbers]
    ordered = sorted(names, key=natural_key)
    assert ordered == [f"image_part_{number}.zip.part" for number in sorted(numbers)]


def test_names_of_any_kind_can_be_sorted():
    assert sorted(["a10", "a9", "10", "b", "9z", ""], key=natural_key) == ["", "9z", "10", "a9", "a10", "b"]

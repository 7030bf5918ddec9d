"""The pieces of an archive, in whatever order a catalogue or a hub names them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.unpack.joined import Joined

KNOWN = {"name": "cut", "kind": "archive", "licence": "x", "destination": "cut"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parts")


@given(
    pieces=st.dictionaries(st.integers(0, 10**4), st.binary(max_size=40), min_size=1, max_size=14),
    shuffle=st.randoms(use_true_random=False),
)
def test_they_are_joined_in_the_order_of_their_numbers(folder, pieces, shuffle):
    names = [f"part_{number}.zip.part" for number in pieces]
    shuffle.shuffle(names)
    parts = [{"urls": [f"https://h.org/a/{name}?download=true"]} for name in names]
    downloads = Artifact.model_validate({**KNOWN, "parts": parts}).downloads
    paths = []
    for download, number in zip(downloads, sorted(pieces), strict=True):
        assert download.destination == f"cut/part_{number}.zip.part"
        paths.append(folder / download.name)
        paths[-1].write_bytes(pieces[number])
    assert len({download.name for download in downloads}) == len(pieces)
    whole = b"".join(pieces[number] for number in sorted(pieces))
    with Joined(paths) as joined:
        assert joined.read() == whole


@given(sizes=st.lists(st.none() | st.integers(0, 10**12), min_size=1, max_size=6))
def test_their_size_is_known_when_each_is(sizes):
    parts = [{"urls": [f"https://h.org/{number}"], "size": size} for number, size in enumerate(sizes)]
    artifact = Artifact.model_validate({**KNOWN, "parts": parts})
    known = None not in sizes
    assert artifact.size_is_exact is known
    assert artifact.expected_size == (sum(sizes) if known else None)

"""What files there are: one by one and by the hundred thousand, it is the same answer."""

from pathlib import Path

import pyarrow as pa

from entrypoint.prepare.listing import Listing

PATHS = [
    "top.jpg",
    "a/1.jpg",
    "a/b/c/2.jpg",
    "a/b c/ü 3.jpg",
    "a/b",
    "top.jpg/below",
    "no/such/folder.jpg",
    "gone.jpg",
    "a/2",
]


def test_many_at_once_are_judged_as_each_is(tmp_path: Path):
    here = ["top.jpg", "a/1.jpg", "a/b/c/2.jpg", "a/b c/ü 3.jpg"]
    for path in here:
        tmp_path.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        tmp_path.joinpath(path).write_bytes(b"x")
    gone = ["top.jpg/below", "no/such/folder.jpg", "gone.jpg", "a/2"]
    assert Listing(tmp_path).missing(PATHS) == gone
    assert Listing(tmp_path).missing_of(pa.chunked_array([PATHS[:4], PATHS[4:]], pa.string())) == gone
    assert Listing(tmp_path).missing_of(pa.chunked_array([], pa.string())) == []

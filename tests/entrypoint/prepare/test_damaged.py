"""Somebody or something changed the volume: it is said in a sentence, and the next prepare mends it."""

import pytest

from entrypoint.prepare.audit.rows import Depth
from entrypoint.prepare.events import ignore
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.state import state_of
from entrypoint.prepare.verify import verify


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"a": 1}', b"\x97\xff"])
@pytest.mark.parametrize("name", ["receipts/images.json", "receipts/images.files", "index/rows.arrow"])
def test_notes_of_ours_that_are_damaged(small, name, content):
    small.prepare()
    tree = small.tree()
    (small.volume.hidden / name).write_bytes(content)
    artifact = small.catalog().artifact("images")
    state = state_of(artifact, small.volume, Listing(small.volume.root))
    assert (state.kind == "ready") == name.startswith("index")
    assert small.prepare().report.ready
    assert small.tree() == tree
    assert small.volume.receipt("images")


@pytest.mark.parametrize("name", ["images/00000/0.jpg", "models/org/m/weights.bin"])
def test_what_a_deep_look_finds_changed_the_next_prepare_mends(small, name):
    small.prepare()
    tree = small.tree()
    path = small.volume.path(name)
    path.write_bytes(bytes(path.stat().st_size))
    looked = verify(small.selection(), small.volume, Depth(decode_jobs=1), False, ignore)
    assert any(f"{name} has changed since it came" in reason for reason in looked.report.not_ready)
    assert small.prepare().report.ready
    assert small.tree() == tree

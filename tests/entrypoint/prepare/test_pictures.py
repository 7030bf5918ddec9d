"""Images that a list names by URL, one by one."""

import json

import pytest

from entrypoint.prepare.manifest import read_manifest
from entrypoint.sample.hub import Answer
from libmoe.config.errors import DataError
from tests.entrypoint.prepare.conftest import picture, row

LIST = "http://lists.example.org/list.json"
PLACE = "http://covers.example.org"


@pytest.fixture
def covers(world):
    names = ["a", "b", "html", "gone", "busy", "unlisted"]
    world.add("rows", "annotations", "http://lists.example.org/rows.json",
        json.dumps([row(n, f"covers/{name}.jpg") for n, name in enumerate(names)]).encode(),
        "jsons/rows.json", needs=["covers"])  # fmt: skip
    listed = {name: {"imageURL": f"{PLACE}/{name}.jpg"} for name in [*names[:-1], "unused"]}
    world.add("covers", "images", LIST, json.dumps(listed).encode(), "covers")
    for number, name in enumerate(["a", "b", "busy", "unused"]):
        world.serve(f"{PLACE}/{name}.jpg", picture(number))
    world.serve(f"{PLACE}/html.jpg", b"<html>sign in</html>")
    world.busy = True

    def wrap(respond):
        def answer(request):
            return Answer(503) if world.busy and "busy" in request.target else respond(request)

        return answer

    world.start(wrap)
    return world


def test_what_is_used_comes_and_what_cannot_be_had_is_counted(covers):
    report = covers.prepare("rows").report
    assert sorted(path for path in covers.tree() if path.startswith("covers/")) == [
        "covers/a.jpg",
        "covers/b.jpg",
    ]
    (found,) = report.sets
    assert (found.rows, found.present, found.missing) == (6, 2, 4)
    assert found.verdict == "not ready: 4 rows lack their image"
    entries = [entry.path for entry in read_manifest(covers.volume, "covers")]
    assert entries == ["covers/a.jpg", "covers/b.jpg"]
    assert not any("unused" in request.target for request in covers.hub.requests)


def test_only_what_may_come_yet_is_tried_again(covers):
    covers.prepare("rows")
    covers.busy = False
    asked = len(covers.hub.requests)
    covers.prepare("rows")
    assert {request.target for request in covers.hub.requests[asked:]} == {"/covers.example.org/busy.jpg"}
    assert covers.volume.path("covers/busy.jpg").is_file()
    failed = (covers.volume.hidden / "receipts/covers.failed").read_text()
    assert [line.split("\t")[1] for line in failed.splitlines()] == [
        "covers/gone.jpg", "covers/html.jpg", "covers/unlisted.jpg",
    ]  # fmt: skip


def test_a_list_that_is_none_is_dropped(covers):
    covers.add("covers", "images", LIST, b'["no", "object"]', "covers")
    with pytest.raises(DataError, match="The list of covers is no list of images"):
        covers.prepare("rows")
    covers.add("covers", "images", LIST, json.dumps({"a": {"imageURL": f"{PLACE}/a.jpg"}}).encode(), "covers")
    covers.prepare("rows")
    assert covers.volume.path("covers/a.jpg").is_file()

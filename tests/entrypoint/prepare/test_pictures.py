"""Images that a list names by URL, one by one."""

import json
from collections.abc import Callable

import pytest

from entrypoint.prepare.events import Said
from entrypoint.prepare.manifest import read_manifest
from entrypoint.prepare.transport import session
from entrypoint.prepare.transport.daemon import Daemon
from entrypoint.sample.hub import Answer, Request, Respond
from libmoe.config.errors import DataError, UnavailableError
from tests.entrypoint.prepare.conftest import World, kill_aria2c, picture, row

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
    failed = covers.volume.hidden / "receipts/covers.failed"
    assert "later" in next(line for line in failed.read_text().splitlines() if "busy" in line)
    covers.busy = False
    asked = len(covers.hub.requests)
    covers.prepare("rows")
    assert {request.target for request in covers.hub.requests[asked:]} == {"/covers.example.org/busy.jpg"}
    assert covers.volume.path("covers/busy.jpg").is_file()
    assert [line.split("\t")[::2] for line in failed.read_text().splitlines()] == [
        ["gone", "covers/gone.jpg"], ["gone", "covers/html.jpg"], ["gone", "covers/unlisted.jpg"],
    ]  # fmt: skip


def test_a_list_that_is_none_is_dropped(covers):
    covers.add("covers", "images", LIST, b'["no", "object"]', "covers")
    with pytest.raises(DataError, match="The list of covers is not a list of images"):
        covers.prepare("rows")
    covers.add("covers", "images", LIST, json.dumps({"a": {"imageURL": f"{PLACE}/a.jpg"}}).encode(), "covers")
    covers.prepare("rows")
    assert covers.volume.path("covers/a.jpg").is_file()


# ---- aria2c fails, not the source

NAMES = [f"c{number}" for number in range(6)]


def several(world: World, when_asked: Callable[[Request], None]) -> None:
    """Pictures, and what happens when one of them is asked for."""
    table = [row(number, f"covers/{name}.jpg") for number, name in enumerate(NAMES)]
    world.add("rows", "annotations", "http://lists.example.org/rows.json", json.dumps(table).encode(),
        "jsons/rows.json", needs=["covers"])  # fmt: skip
    listed = {name: {"imageURL": f"{PLACE}/{name}.jpg"} for name in NAMES}
    world.add("covers", "images", LIST, json.dumps(listed).encode(), "covers")
    for number, name in enumerate(NAMES):
        world.serve(f"{PLACE}/{name}.jpg", picture(number))

    def wrap(respond: Respond) -> Respond:
        def answer(request: Request) -> Answer:
            if PLACE.partition("://")[2] in request.target:
                when_asked(request)
            return respond(request)

        return answer

    world.start(wrap)


def all_there(world: World) -> bool:
    return all(world.volume.path(f"covers/{name}.jpg").is_file() for name in NAMES)


def said(world: World) -> str:
    return "\n".join(event.line for event in world.events if isinstance(event, Said))


def test_a_killed_aria2c_is_started_again(world: World):
    kills = iter([kill_aria2c])
    several(world, lambda request: next(kills, int)())
    assert world.prepare("rows").report.ready
    assert all_there(world)
    assert "covers: its images could not be fetched because aria2c failed" in said(world)


def test_one_that_is_killed_again_and_again_is_one_sentence_and_the_next_prepare_goes_on(world: World):
    killing = [True]
    several(world, lambda request: kill_aria2c() if killing else None)
    with pytest.raises(UnavailableError, match=r"The images of covers .* aria2c failed .*, 4 times in a row"):
        world.prepare("rows")
    killing.clear()
    assert world.prepare("rows").report.ready
    assert all_there(world)


def test_what_aria2c_forgets_is_asked_for_again(world: World, monkeypatch: pytest.MonkeyPatch):
    running: list[Daemon] = []

    def start(*args) -> Daemon:
        running.append(Daemon(*args))
        return running[-1]

    def forget(request: Request) -> None:
        if forgetful:
            running[-1].client.change_global_option({"max-download-result": "0"})
            forgetful.clear()

    forgetful = [True]
    monkeypatch.setattr(session, "Daemon", start)
    several(world, forget)
    assert world.prepare("rows").report.ready
    assert all_there(world)
    assert "aria2c forgot what came of them" in said(world)

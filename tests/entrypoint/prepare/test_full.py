"""A volume that is full at the worst moment: one sentence, nothing lost, and with room the same goes on."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entrypoint.prepare.events import Event, Finished, Progress
from entrypoint.sample.hub import Answer, Request, Respond
from libmoe.config.errors import VolumeError
from tests.entrypoint.mounts import fill_up, mounted, remount
from tests.entrypoint.prepare.conftest import World, row, zipped
from tests.entrypoint.prepare.every_kind import hidden, of_every_kind

URL = "http://host.example"


def assert_full(code: int, err: str) -> None:
    assert code == 73, err
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("libmoe: The volume ")
    assert "is full: free some space or choose a larger one with --data-dir" in last


def inodes(world: World) -> dict[str, int]:
    return {name: world.volume.path(name).stat().st_ino for name in world.tree()}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_in_the_middle_of_unpacking(world: World, jobs: str):
    """Small files take a page each, which no archive's directory tells."""
    noise = random.Random(1)
    files = {f"{number % 7}/{number}.bin": noise.randbytes(200) for number in range(3000)}
    world.add("many", "archive", f"{URL}/many.zip", zipped(files), "many")
    hub = world.start()
    command = ["prepare", "--only", "many", "--jobs", jobs, "--mirror", hub.url]
    with mounted(world.volume.root, "size=8m") as root:
        code, _, err = world.run(*command)
        assert_full(code, err)
        whole, asked, first = (
            {f"many/{name}": data for name, data in files.items()},
            len(hub.requests),
            inodes(world),
        )
        assert 0 < len(first) < len(files)
        assert world.tree().items() <= whole.items()
        remount(root, "size=64m")
        code, _, err = world.run(*command)
        assert code == 0, err
        assert world.tree() == whole
        assert len(hub.requests) == asked
        assert inodes(world).items() >= first.items()


@pytest.mark.parametrize("room", [0.5, 1.5], ids=["first draft", "copy"])
def test_in_the_middle_of_indexing(world: World, tmp_path: Path, room: float):
    table = json.dumps([row(number, None) for number in range(20_000)]).encode()
    world.add("rows", "annotations", f"{URL}/rows.json", table, "jsons/rows.json")
    hub = world.start()
    world.prepare("rows")
    index, tree = world.volume.index_path("rows").read_bytes(), world.tree()
    shutil.rmtree(world.volume.root)
    command = ["prepare", "--only", "rows", "--force", "--mirror", hub.url]
    with mounted(world.volume.root, f"size={int(len(table) + room * len(index))}") as root:
        code, _, err = world.run(*command)
        assert_full(code, err)
        assert world.tree() == {}
        assert not list((world.volume.hidden / "index").iterdir())
        remount(root, "size=64m")
        sent = hub.bytes_sent
        code, _, err = world.run(*command)
        assert code == 0, err
        assert world.tree() == tree
        assert world.volume.index_path("rows").read_bytes() == index
        assert hub.bytes_sent == sent


# ---- somebody else takes what is left, down to the last pages, while one thing or another is under way


def phase(name: str, phase: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Progress) and (event.name, event.phase) == (name, phase)


def done(name: str) -> Callable[[Event], bool]:
    """Every byte of an archive is in place; only what is written down of it is not."""
    return lambda event: phase(name, "unpack")(event) and event.done == event.total


def finished(name: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Finished) and event.name == name


MOMENTS = {
    "a file on its way": (phase("hashed", "fetch"), 0, ["hashed"]),
    "a file verified, before its record": (phase("hashed", "verify"), 0, ["hashed"]),
    "an archive verified, before its record": (phase("images", "verify"), 0, ["images"]),
    "an archive unpacked, before its manifest": (done("images"), 0, ["images"]),
    "an archive unpacked, after its manifest, before its receipt": (done("images"), 1, ["images"]),
    "parts unpacked, before their manifest": (done("parts"), 0, ["parts"]),
    "parts unpacked, after their manifest, before their receipt": (done("parts"), 1, ["parts"]),
    "rows indexed, before their receipt": (phase("rows", "index"), 0, ["rows"]),
    "images by URL in place, before their list": (phase("covers", "images"), 0, []),
    "all in place, before the audit is kept": (
        lambda event: finished("covers")(event) and event.files > 0,
        0,
        [],
    ),
}
"""Event, pages that are left, what is prepared: alone, where others would give pages back meanwhile."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Iterator[World]:
    world = of_every_kind(tmp_path_factory.mktemp("undisturbed"))
    world.start()
    assert world.prepare().report.ready
    yield world
    world.stop()


@pytest.fixture
def copy(undisturbed: World, world: World) -> Iterator[World]:
    """The same sources, and an empty volume on a small file system."""
    world.served, world.artifacts, world.stages = (
        undisturbed.served,
        undisturbed.artifacts,
        undisturbed.stages,
    )
    with mounted(world.volume.root, "size=64m"):
        yield world


def goes_on(world: World, glutton: Path, undisturbed: World) -> None:
    """With room, the same command ends as if nothing had been, and does no finished work again."""
    glutton.unlink()
    assert world.tree().items() <= undisturbed.tree().items()
    first, receipts = inodes(world), {name for name in world.artifacts if world.volume.receipt(name)}
    world.events.clear()
    assert world.prepare().report.ready
    assert world.tree() == undisturbed.tree()
    assert hidden(world) == hidden(undisturbed)
    assert inodes(world).items() >= first.items()
    assert not receipts & {event.name for event in world.events if isinstance(event, Progress)} - {"covers"}


@pytest.mark.parametrize("moment", MOMENTS)
def test_at_a_moment(copy: World, undisturbed: World, moment: str):
    when, pages, alone = MOMENTS[moment]
    gluttons: list[Path] = []

    def emit(event: Event) -> None:
        """Once it has begun, takes again what was given back since."""
        if when(event) if not gluttons else not pages:
            gluttons.append(fill_up(copy.volume.root, pages))

    copy.start()
    with pytest.raises(VolumeError, match="is full") as caught:
        copy.prepare(*alone, emit=emit)
    assert caught.value.exit_code == 73
    goes_on(copy, gluttons[0], undisturbed)


def test_while_images_come_by_url(copy: World, undisturbed: World):
    gluttons: list[Path] = []

    def filling(respond: Respond) -> Respond:
        def answer(request: Request) -> Answer:
            if "/covers/c7" in request.target and not gluttons:
                gluttons.append(fill_up(copy.volume.root))
            return respond(request)

        return answer

    copy.start(filling)
    with pytest.raises(VolumeError, match="is full"):
        copy.prepare()
    goes_on(copy, gluttons[0], undisturbed)

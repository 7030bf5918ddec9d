"""Unpacking goes on beside fetching, and ends well or badly with it."""

import threading
import zipfile
from concurrent import futures

import pytest

from entrypoint.prepare.install import Installer
from entrypoint.prepare.options import FETCHED_AT_ONCE
from entrypoint.prepare.transport import fetch
from libmoe.config.errors import DataError, VolumeError
from tests.entrypoint.prepare.conftest import picture, zipped
from tests.entrypoint.prepare.unpack.test_archive import HOSTILE, make, named

NAMES = [f"zip{number}" for number in range(FETCHED_AT_ONCE + 1)]
"""More than are fetched at once."""


@pytest.fixture
def archives(world):
    for number, name in enumerate(NAMES):
        content = zipped({f"{name}/{number}.jpg": picture(number)})
        world.add(name, "archive", f"http://host.org/{name}.zip", content, name)
    return world


@pytest.mark.parametrize("came", [futures.FIRST_COMPLETED, futures.ALL_COMPLETED])
def test_others_are_fetched_while_one_is_unpacked(archives, monkeypatch, came):
    """Also where several came at once."""
    monkeypatch.setattr(fetch, "wait", lambda running, return_when: futures.wait(running, return_when=came))
    asked = threading.Event()

    def wrap(respond):
        def answer(request):
            if NAMES[-1] in request.target:
                asked.set()
            return respond(request)

        return answer

    install, waited = Installer.install, []

    def slow(self, whole):
        if not waited:
            waited.append(None)
            waited[0] = asked.wait(60)
        install(self, whole)

    monkeypatch.setattr(Installer, "install", slow)
    archives.start(wrap)
    archives.prepare(*NAMES)
    assert waited == [True]
    assert sorted(archives.tree()) == [f"{name}/{number}.jpg" for number, name in enumerate(NAMES)]


def test_one_that_is_bad_does_not_stop_the_others(archives):
    archives.add("zip2", "archive", "http://host.org/zip2.zip", b"no zip", "zip2")
    archives.start()
    with pytest.raises(DataError, match="The archive zip2 is bad"):
        archives.prepare(*NAMES)
    assert sorted(archives.finished()) == [name for name in NAMES if name != "zip2"]


def test_a_volume_that_fills_up_stops_it_all(archives, monkeypatch):
    monkeypatch.setattr(type(archives.volume), "has_inodes", lambda volume, count: False)
    archives.start()
    with pytest.raises(VolumeError, match="too few inodes for the 1 files of"):
        archives.prepare(*NAMES)
    assert archives.tree() == {}
    monkeypatch.undo()
    archives.prepare(*NAMES)
    assert len(archives.tree()) == len(NAMES)


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_ends_with_65_and_names_the_member(world, tmp_path, case):
    info, words = HOSTILE[case]
    path = make(tmp_path / "a.zip", {})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(named("good.txt"), b"good")
        archive.writestr(info, b"evil")
    world.add("hostile", "archive", "http://host.org/a.zip", path.read_bytes(), "")
    with pytest.raises(DataError, match=words) as caught:
        world.prepare("hostile", mirror=f"file://{world.served}")
    assert caught.value.exit_code == 65
    assert repr(info.filename) in str(caught.value)
    assert world.tree() == {}

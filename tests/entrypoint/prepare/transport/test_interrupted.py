"""Prepares that are stopped or killed inside a file, and what the next one makes of that file."""

import os
import random
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from entrypoint.ports import free_port
from entrypoint.prepare.events import Event, Progress, Waiting
from entrypoint.prepare.transport import daemon as daemons
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.control import bytes_done
from entrypoint.prepare.transport.daemon import Daemon, end_leftover
from entrypoint.prepare.transport.record import Record, write_record
from entrypoint.prepare.transport.source import Resolver
from tests.entrypoint.prepare.conftest import kill_aria2c, slowly
from tests.entrypoint.prepare.transport.big_file import BIG, children_of, with_big_file
from tests.waiting import wait_for


def test_a_killed_prepare_continues_inside_the_file(world):
    content = with_big_file(world)
    world.start(slowly(700_000))
    partial = world.volume.partial("big")
    args = ["prepare", "--only", "big", "--connections", "2", "--mirror"]
    process = world.command(*args, world.hub.url)
    wait_for(lambda: bytes_done(partial) >= 2 << 20)
    for pid in [*children_of(process.pid), process.pid]:
        os.kill(pid, signal.SIGKILL)  # as when the container is killed: aria2 saves nothing any more
    process.communicate()
    kept = bytes_done(partial)
    assert kept < BIG
    assert not world.volume.path("big.bin").exists()
    world.stop()
    hub = world.start(slowly(2_000_000))  # slow enough that little is sent that is not wanted any more
    code, _, err = world.run(*args, hub.url)
    assert code == 0, err
    assert world.volume.path("big.bin").read_bytes() == content
    assert hub.bytes_sent <= BIG - kept + (1 << 20)


def test_a_killed_aria2c_is_started_again_and_continues_inside_the_file(world):
    content = with_big_file(world, size=5 << 20)
    hub = world.start(slowly(1_000_000))
    allowed = []

    def emit(event: Event) -> None:
        world.events.append(event)
        if not allowed and isinstance(event, Progress) and event.phase == "fetch" and event.done > 3 << 20:
            kill_aria2c()
            kept = bytes_done(world.volume.partial("big"))
            allowed.append(hub.bytes_sent + len(content) - kept + (1 << 20))

    world.prepare("big", emit=emit, connections=2)
    assert world.volume.path("big.bin").read_bytes() == content
    assert any("aria2c failed" in event.reason for event in world.events if isinstance(event, Waiting))
    assert hub.bytes_sent <= allowed[0]


def test_ctrl_c_ends_with_75_keeps_the_bytes_and_leaves_no_aria2(world):
    with_big_file(world)
    world.start(slowly(700_000))
    process = world.command("prepare", "--only", "big", "--connections", "2", "--mirror", world.hub.url)
    wait_for(lambda: bytes_done(world.volume.partial("big")) > 0)
    aria2 = children_of(process.pid)
    assert aria2
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "continues" in err.splitlines()[-1]
    assert bytes_done(world.volume.partial("big")) > 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in aria2)


@pytest.mark.parametrize("gap", [0, 0.1])
def test_ctrl_c_twice_ends_as_once_does(world, gap):
    with_big_file(world)
    world.start(slowly(700_000))
    process = world.command("prepare", "--only", "big", "--connections", "2", "--mirror", world.hub.url)
    wait_for(lambda: bytes_done(world.volume.partial("big")) > 0)
    aria2 = children_of(process.pid)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(gap)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "Traceback" not in err
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in aria2))


def test_the_aria2_of_a_killed_prepare_does_not_write_beside_the_next(tmp_path):
    daemon = Daemon(tmp_path, {})
    end_leftover(tmp_path)
    assert not daemon.alive()


def aria2c_where_another_was_quicker(taken: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """It need not end there by itself: it listens on ::1 too, where that port is free."""
    ports = iter([taken, free_port("127.0.0.1")])
    monkeypatch.setattr(daemons, "free_port", lambda address: next(ports))
    monkeypatch.setattr(daemons, "_PATIENCE_SECONDS", 3600.0)
    folder.mkdir()
    return Daemon(folder, {})


def test_a_port_that_another_aria2c_took_is_left_to_it(tmp_path, monkeypatch):
    other = Daemon(tmp_path, {})
    ours = aria2c_where_another_was_quicker(other.client.port, tmp_path / "ours", monkeypatch)
    try:
        assert ours.client.get_version() == other.client.get_version()
    finally:
        other.stop()
        ours.stop()


def test_so_is_one_that_a_web_server_took(tmp_path, monkeypatch, world):
    server = urlsplit(world.start().url)
    ours = aria2c_where_another_was_quicker(server.port, tmp_path / "ours", monkeypatch)
    assert ours.client.get_version()["version"]
    ours.stop()


def test_nothing_secret_is_in_a_command_line_or_handed_to_aria2(world):
    with_big_file(world)
    world.start(slowly(300_000))
    process = world.command("prepare", "--only", "big", "--mirror", world.hub.url, HF_TOKEN="hf_secret")
    wait_for(lambda: world.hub.bytes_sent > 0)
    for pid in children_of(process.pid):
        assert b"rpc-secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert b"hf_secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert not list(world.volume.hidden.glob("*.conf"))
    process.kill()
    process.communicate()


def test_bytes_of_another_file_are_never_continued(world):
    """The source changed between two runs: what came of the old file is dropped."""
    unhashed = ("big", "file", "http://host.org/big.bin")
    world.add(*unhashed, random.Random(2).randbytes(BIG), "big.bin", sha256=None)
    world.start(slowly(700_000))
    process = world.command("prepare", "--only", "big", "--connections", "2", "--mirror", world.hub.url)
    wait_for(lambda: bytes_done(world.volume.partial("big")) > 1 << 20)
    process.kill()
    process.communicate()
    world.stop()
    content = random.Random(3).randbytes(BIG)
    world.add(*unhashed, content, "big.bin", sha256=None)
    hub = world.start()
    world.prepare("big")
    assert world.volume.path("big.bin").read_bytes() == content
    assert hub.bytes_sent >= BIG


def test_bytes_without_a_control_file_are_never_trusted(world):
    content = random.Random(2).randbytes(BIG)
    world.add("big", "file", "http://host.org/big.bin", content, "big.bin", sha256=None)
    hub = world.start()
    artifact = world.catalog().artifact("big")
    with Resolver(Addresses(hub.url), "test") as resolver:
        record = Record(resolver.resolve(artifact, artifact.urls[0]))
    write_record(world.volume.partial_state("big"), record)
    world.volume.partial("big").write_bytes(bytes(BIG))  # space that was reserved, and nothing written to it
    world.prepare("big")
    assert world.volume.path("big.bin").read_bytes() == content


def test_a_killed_prepare_is_repeatable_at_any_moment(small):
    """Killed again and again, it ends with the tree of an undisturbed run."""
    small.stop()
    small.start(slowly(60_000))
    moments = random.Random(5)
    args = ["prepare", "--stage", "1", "--mirror", small.hub.url]
    for _ in range(6):
        process = small.command(*args)
        time.sleep(moments.uniform(0.3, 1.6))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, _, err = small.run(*args)
    assert code == 0, err
    tree = small.tree()
    os.rename(small.volume.root, small.volume.root.with_name("killed"))  # noqa: PTH104
    small.stop()
    small.start()
    small.prepare()
    assert small.tree() == tree

"""Downloads onto a volume that has no room, or loses it, or cannot reserve it."""

import os
import signal

import pytest

from entrypoint.prepare.transport.control import bytes_done, control_path
from entrypoint.sample.hub import Answer, Request, Respond
from libmoe.config.errors import VolumeError
from tests.entrypoint.mounts import fill_up, mounted, remount
from tests.entrypoint.prepare.conftest import slowly
from tests.entrypoint.prepare.transport.big_file import BIG, children_of, with_big_file
from tests.waiting import wait_for


def test_a_file_system_that_cannot_reserve_space(world):
    content = with_big_file(world)  # aria2 does not reserve space for less than 5 MB
    world.start()
    with mounted(world.volume.root, "mode=755", "ramfs"):
        world.prepare("big")
        assert world.volume.path("big.bin").read_bytes() == content


def test_a_volume_that_fills_up_in_the_middle(world):
    """Somebody else takes the space that was there at the start."""
    content = with_big_file(world)
    with mounted(world.volume.root, "size=20m") as root:
        glutton = root / "glutton"

        def filling(respond: Respond) -> Respond:
            def answer(request: Request) -> Answer:
                if request.method == "GET" and not glutton.exists():
                    fill_up(root)
                return respond(request)

            return answer

        world.start(filling)
        with pytest.raises(VolumeError, match="full"):
            world.prepare("big")
        assert set(world.tree()) == {"glutton"}
        remount(root, "size=40m")
        world.prepare("big")
        assert world.volume.path("big.bin").read_bytes() == content


def test_what_came_before_the_volume_was_full_is_continued_though_aria2_forgets_it(world):
    content = with_big_file(world)
    hub = world.start(slowly(600_000))
    with mounted(world.volume.root, "size=20m") as root:
        partial = world.volume.partial("big")
        args = ["prepare", "--only", "big", "--connections", "2", "--mirror"]
        process = world.command(*args, hub.url)
        # a second name: libmoe keeps what aria2 has told so far
        wait_for(lambda: bytes_done(partial) >= 2 << 20 and control_path(partial).stat().st_nlink > 1)
        wait_for(lambda: fill_up(root) and not control_path(partial).stat().st_size)
        for pid in [*children_of(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.communicate()
        kept = bytes_done(partial)
        assert kept >= 2 << 20
        (root / "glutton").unlink()
        world.stop()
        hub = world.start(slowly(2_000_000))
        code, _, err = world.run(*args, hub.url)
        assert code == 0, err
        assert world.volume.path("big.bin").read_bytes() == content
        assert hub.bytes_sent <= BIG - kept + (1 << 20)


def test_a_volume_without_room_for_what_the_source_offers(world):
    with_big_file(world)
    del world.artifacts["big"]["size"]  # so that the plan cannot know
    hub = world.start()
    with mounted(world.volume.root, "size=4m"), pytest.raises(VolumeError, match="full"):
        world.prepare("big")
    assert hub.bytes_sent == 0

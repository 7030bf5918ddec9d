"""Downloads that go wrong, with a real aria2c and a real server."""

import os
import random
import signal
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from entrypoint.prepare.events import Skipped, Waiting
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.control import bytes_done, control_path
from entrypoint.prepare.transport.daemon import Daemon, end_leftover
from entrypoint.prepare.transport.download import Record
from entrypoint.prepare.transport.retry import Retry
from entrypoint.prepare.transport.source import Resolver
from entrypoint.sample.hub import Answer, Request, Respond
from entrypoint.volume import write_json
from libmoe.config.errors import DataError, UnavailableError, VolumeError
from tests.entrypoint.mounts import fill_up, mounted, remount
from tests.entrypoint.prepare.conftest import slowly

URL = "https://huggingface.co/org/m/resolve/main/big.bin"
BIG = 8 << 20


def with_big_file(world, size: int = BIG, **fields) -> bytes:
    content = random.Random(1).randbytes(size)
    world.add("big", "file", URL, content, "big.bin", **fields)
    return content


def failing(times: int, answer: Answer, on: str = "GET"):
    """The first answers to a method are replaced."""

    def wrap(respond: Respond) -> Respond:
        left = times

        def wrapped(request: Request) -> Answer:
            nonlocal left
            if request.method == on and left > 0:
                left -= 1
                return answer
            return respond(request)

        return wrapped

    return wrap


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


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


def test_ctrl_c_ends_with_75_keeps_the_bytes_and_leaves_no_aria2(world):
    with_big_file(world)
    world.start(slowly(700_000))
    process = world.command("prepare", "--only", "big", "--connections", "2", "--mirror", world.hub.url)
    wait_for(lambda: bytes_done(world.volume.partial("big")) > 0)
    aria2 = children_of(process.pid)
    assert aria2
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
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
    _, err = process.communicate(timeout=20)
    assert process.returncode == 75
    assert "Traceback" not in err
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in aria2), 30)


def test_the_aria2_of_a_killed_prepare_does_not_write_beside_the_next(tmp_path):
    daemon = Daemon(tmp_path, "test")
    end_leftover(tmp_path)
    assert not daemon.alive()


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


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] or [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_a_connection_that_drops_is_continued(world):
    content = with_big_file(world)
    cut, starts = 0, []

    def dropping(respond: Respond) -> Respond:
        def answer(request: Request) -> Answer:
            nonlocal cut
            found = respond(request)
            starts.append(found.start)
            if found.file is not None and request.method == "GET" and cut < 7:
                cut += 1
                found.cut_after = 900_000
            return found

        return answer

    world.start(dropping)
    world.prepare("big", connections=1, retry=Retry(attempts=2, base_seconds=0.01))
    assert world.volume.path("big.bin").read_bytes() == content
    assert starts[-1] > BIG / 2


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_may_pass_is_waited_for(world, status):
    content = with_big_file(world, 1000)
    world.start(failing(2, Answer(status, {"Retry-After": "0.01"}), on="HEAD"))
    world.prepare("big")
    waits = [event for event in world.events if isinstance(event, Waiting)]
    assert len(waits) == 2
    assert str(status) in waits[0].reason
    assert waits[0].seconds == 0.01
    assert world.volume.path("big.bin").read_bytes() == content


def test_a_signature_that_expires_in_the_middle_is_asked_for_again(world):
    content = with_big_file(world, 4 << 20)
    cuts = iter([1_600_000])

    def slow_and_cut(respond: Respond) -> Respond:
        def answer(request: Request) -> Answer:
            found = respond(request)
            if found.file is not None and request.method == "GET":
                found.cut_after = next(cuts, None)
                found.bytes_per_second = 800_000 if found.cut_after else None
            return found

        return answer

    hub = world.start(slow_and_cut, signed_for_seconds=1)
    world.prepare("big", connections=1)
    assert world.volume.path("big.bin").read_bytes() == content
    assert len([request for request in hub.requests if request.target.startswith("/hugging")]) > 1


@pytest.mark.parametrize("status", [403, 404])
def test_the_next_url_is_tried(world, status):
    content = with_big_file(world, 1000)
    world.artifacts["big"]["urls"] = ["https://gone.org/big.bin", URL]

    def refusing(respond: Respond) -> Respond:
        return lambda request: Answer(status) if "gone.org" in request.target else respond(request)

    world.start(refusing)
    world.prepare("big")
    assert world.volume.path("big.bin").read_bytes() == content
    assert [str(status) in event.reason for event in world.events if isinstance(event, Skipped)] == [True]


def test_a_file_that_nobody_has_is_unavailable(world):
    with_big_file(world, 1000)
    (world.served / URL.partition("://")[2]).unlink()
    world.start()
    with pytest.raises(UnavailableError, match=rf"404.* Check that {world.hub.url} runs"):
        world.prepare("big")


def test_a_mirror_that_is_down_is_named(world):
    with_big_file(world, 1000)
    with pytest.raises(UnavailableError, match=r"cannot be reached .* Check that http://127.0.0.1:9 runs"):
        world.prepare("big", mirror="http://127.0.0.1:9")
    assert world.tree() == {}


def test_a_web_page_is_not_the_file(world):
    world.add("page", "file", "http://host.org/login.html", b"<html>sign in</html>", "page.bin")
    world.start()
    with pytest.raises(UnavailableError, match="web page"):
        world.prepare("page")


def test_a_file_that_was_replaced_at_its_source_is_refused_before_it_is_fetched(world):
    with_big_file(world)
    world.artifacts["big"]["sha256"] = "0" * 64
    hub = world.start()
    with pytest.raises(DataError, match=r"offers sha256 [0-9a-f]{64} where the catalogue promises 0000"):
        world.prepare("big")
    assert hub.bytes_sent == 0


def test_wrong_bytes_are_dropped_fetched_once_more_and_refused(world):
    content = random.Random(2).randbytes(5000)
    world.add("plain", "file", "http://host.org/a.bin", content, "a.bin", sha256="0" * 64)
    hub = world.start()
    with pytest.raises(DataError, match=r"gave bytes with sha256 .*, twice"):
        world.prepare("plain")
    assert hub.bytes_sent == 2 * len(content)
    assert world.tree() == {}
    assert not list(world.volume.partial("").iterdir())


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
    write_json(world.volume.partial_state("big"), asdict(record))
    world.volume.partial("big").write_bytes(bytes(BIG))  # space that was reserved, and nothing written to it
    world.prepare("big")
    assert world.volume.path("big.bin").read_bytes() == content


def test_a_folder_is_a_mirror(world):
    content = with_big_file(world, 100_000)
    world.prepare("big", mirror=f"file://{world.served}")
    assert world.volume.path("big.bin").read_bytes() == content
    assert world.volume.receipt("big").source == "file"


def test_a_folder_that_lacks_the_file(world):
    with_big_file(world, 1000)
    with pytest.raises(UnavailableError, match="is not there"):
        world.prepare("big", mirror=f"file://{world.served}/nowhere")


def test_a_proxy_for_the_network_is_not_asked_for_aria2(world, monkeypatch):
    content = with_big_file(world, 1000)
    hub = world.start()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", hub.url.removeprefix("http://").partition(":")[0] + ",other")
    monkeypatch.setattr("requests.utils.should_bypass_proxies", lambda url, no_proxy: False)
    world.prepare("big")
    assert world.volume.path("big.bin").read_bytes() == content


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
        wait_for(lambda: bytes_done(partial) >= 2 << 20)
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


def test_a_volume_without_room_for_what_the_source_offers(world):
    with_big_file(world)
    del world.artifacts["big"]["size"]  # so that the plan cannot know
    hub = world.start()
    with mounted(world.volume.root, "size=4m"), pytest.raises(VolumeError, match="full"):
        world.prepare("big")
    assert hub.bytes_sent == 0

"""Sources that go wrong, with a real aria2c and a real server."""

import random

import pytest

from entrypoint.prepare.events import Skipped, Waiting
from entrypoint.prepare.transport.retry import Retry
from entrypoint.sample.hub import Answer, Request, Respond
from libmoe.config.errors import DataError, UnavailableError
from tests.entrypoint.prepare.transport.big_file import BIG, URL, failing, with_big_file


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
    assert not list(world.volume.partials.iterdir())


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

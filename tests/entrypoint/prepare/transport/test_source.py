"""What a URL turns out to be, and who gets to see the token."""

import pytest

from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.retry import Patience, RefusedError, Retry, UnreachableError
from entrypoint.prepare.transport.source import Resolver, Source
from entrypoint.sample.hub import Answer, Hub, Request
from libmoe.config.errors import UsageError

HUB_URL = "https://huggingface.co/org/m/resolve/main/a.bin"


def resolve(world, name, addresses=None):
    artifact = world.catalog().artifact(name)
    with Resolver(addresses or Addresses(world.hub.url), "test") as resolver:
        return resolver.resolve(artifact, artifact.urls[0])


def test_a_hub_file_is_known_before_it_is_fetched(world):
    world.add("a", "file", HUB_URL, b"content", "a.bin", sha256=None, size=None)
    hub = world.start()
    source = resolve(world, "a")
    assert source.size == 7
    assert source.sha256 == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert source.location.startswith(f"{hub.url}/cdn/huggingface.co/org/m/resolve/main/a.bin?Expires=")
    assert len(source.commit) == 40
    assert hub.bytes_sent == 0


def test_a_plain_file_has_a_size_and_an_etag(world):
    world.add("a", "file", "http://host.org/a.bin", b"content", "a.bin", sha256=None)
    hub = world.start()
    source = resolve(world, "a")
    assert (source.size, source.sha256, source.location) == (7, None, f"{hub.url}/host.org/a.bin")
    assert source.etag


def test_a_server_without_head_is_asked_for_a_byte(world):
    world.add("a", "file", "http://host.org/a.bin", b"content", "a.bin")
    world.start(lambda respond: lambda request: Answer(405) if request.method == "HEAD" else respond(request))
    assert resolve(world, "a").size == 7


def test_redirects_without_end(world):
    world.add("a", "file", "http://host.org/a.bin", b"content", "a.bin")
    world.start(lambda respond: lambda request: Answer(302, {"Location": request.target + "x"}))
    with pytest.raises(RefusedError, match="redirects more than"):
        resolve(world, "a")


def test_the_token_goes_to_the_hub_and_nowhere_else(world):
    world.add("a", "file", HUB_URL, b"content", "a.bin")
    seen: dict[str, list[str | None]] = {"hub": [], "cdn": []}

    def elsewhere(request: Request) -> Answer:
        seen["cdn"].append(request.headers.get("Authorization"))
        return Answer(200, {"Content-Length": "7"})

    with Hub(elsewhere) as cdn:

        def hub(respond):
            def answer(request: Request) -> Answer:
                seen["hub"].append(request.headers.get("Authorization"))
                return Answer(302, {"Location": f"{cdn.url}/file"})

            return answer

        world.start(hub)
        source = resolve(world, "a", Addresses(endpoint=world.hub.url, token="hf_x"))
        assert source.location == f"{cdn.url}/file"
    assert seen == {"hub": ["Bearer hf_x"], "cdn": [None]}


@pytest.mark.parametrize(
    ("addresses", "url", "expected"),
    [
        (Addresses(), HUB_URL, HUB_URL),
        (Addresses(mirror="http://m:1/x/"), HUB_URL, "http://m:1/x/huggingface.co/org/m/resolve/main/a.bin"),
        (Addresses(mirror="file:///m"), "http://h.org/a?b=c", "file:///m/h.org/a?b=c"),
        (Addresses(endpoint="https://hub.example/"), HUB_URL, "https://hub.example/org/m/resolve/main/a.bin"),
        (Addresses(endpoint="https://hub.example"), "http://h.org/a", "http://h.org/a"),
    ],
)
def test_addresses(addresses, url, expected):
    assert addresses.rewrite(url) == expected


@pytest.mark.parametrize(
    ("addresses", "address", "given"),
    [
        (Addresses(token="t"), HUB_URL, True),
        (Addresses(token="t"), "http://huggingface.co/a", False),
        (Addresses(token="t"), "https://huggingface.co.evil.org/a", False),
        (Addresses(token="t"), "https://cdn-lfs.huggingface.co/a", False),
        (Addresses(token="t", endpoint="https://hub.example"), "https://hub.example/a", True),
        (Addresses(token="t", endpoint="https://hub.example"), HUB_URL, False),
        (Addresses(token="t", mirror="https://huggingface.co"), HUB_URL, False),
        (Addresses(), HUB_URL, False),
    ],
)
def test_who_gets_the_token(addresses, address, given):
    assert bool(addresses.headers(address)) is given


def test_a_mirror_must_be_an_address():
    with pytest.raises(UsageError, match=r"--mirror 'ftp://x' is not an address"):
        Addresses(mirror="ftp://x")


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90),
        ("soon", None),
    ],
)
def test_a_server_says_when_to_come_back_in_seconds_or_by_its_own_clock(world, told, seconds):
    world.add("a", "file", "http://host.org/a.bin", b"content", "a.bin")
    headers = {"Retry-After": told, "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}
    world.start(lambda respond: lambda request: Answer(503, headers))
    with pytest.raises(UnreachableError, match="answers 503") as caught:
        resolve(world, "a")
    assert caught.value.retry_after == seconds


def source(**fields) -> Source:
    return Source(**{"url": "u", "host": "h", "location": "l", "size": 1, **fields})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"sha256": "a"}, {"sha256": "a", "url": "v"}, True),
        ({"sha256": "a"}, {"sha256": "b"}, False),
        ({"sha256": "a"}, {}, False),
        ({"etag": "e"}, {"etag": "e"}, True),
        ({"etag": "e"}, {"etag": "f"}, False),
        ({"etag": "e"}, {"etag": "e", "url": "v"}, False),
        ({"etag": "e"}, {"etag": "e", "size": 2}, False),
        ({}, {}, False),
    ],
)
def test_only_the_same_content_is_continued(one, other, same):
    assert source(**one).same_content(source(**other)) is same


def test_patience_grows_and_ends():
    patience = Patience(Retry(attempts=4, base_seconds=1, longest_seconds=3))
    for longest in (1, 2, 3):
        assert longest / 2 <= patience.wait(UnreachableError("x")) <= longest
    with pytest.raises(RefusedError, match="x, 4 times in a row"):
        patience.wait(UnreachableError("x"))


def test_patience_does_what_the_source_asks_within_limits():
    patience = Patience(Retry(longest_seconds=1, longest_asked_seconds=3))
    assert patience.wait(UnreachableError("x", retry_after=2)) == 2
    with pytest.raises(RefusedError, match="asks to come back in 999 seconds"):
        patience.wait(UnreachableError("x", retry_after=999))


def test_there_is_less_patience_where_nobody_listens():
    patience = Patience(Retry(attempts=9, attempts_if_silent=2))
    patience.wait(UnreachableError("x", answered=False))
    with pytest.raises(RefusedError):
        patience.wait(UnreachableError("x", answered=False))


def test_progress_renews_patience():
    patience = Patience(Retry(attempts=2))
    for _ in range(5):
        patience.wait(UnreachableError("x"))
        patience.reset()

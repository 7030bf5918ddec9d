"""Who is asked, through whom, by how many at once, and who gets to see the token."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from entrypoint.prepare.events import Progress, Waiting
from entrypoint.prepare.transport import pace
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.control import bytes_done
from entrypoint.prepare.transport.hosts import Hosts
from entrypoint.prepare.transport.pace import Connections, Pace
from entrypoint.prepare.transport.record import Record, write_record
from entrypoint.prepare.transport.retry import Retry, StoppedError, UnreachableError
from entrypoint.prepare.transport.source import Resolver
from entrypoint.sample.hub import Answer, Hub, Library, Request, Respond
from tests.entrypoint.prepare.conftest import World, held
from tests.waiting import wait_for

TOKEN = "hf_AbCdEf"
URL = "https://huggingface.co/org/m/resolve/main/big.bin"
BIG = random.Random(1).randbytes(6 << 20)


def with_big_file(world: World, url: str = URL, **fields) -> None:
    world.add("big", "file", url, BIG, "big.bin", **fields)


# ---- the token


def gated(respond: Respond) -> Respond:
    """A hub that shows nothing without the token."""

    def answer(request: Request) -> Answer:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Answer(401)
        path = urlsplit(request.target).path
        return respond(Request(request.method, "/huggingface.co" + path, request.headers, request.base))

    return answer


@contextmanager
def elsewhere(world: World, wrap: Callable[[Respond], Respond]) -> Iterator[tuple[Hub, Respond]]:
    """Another host that holds the bytes, whose answers may be changed, and a hub's that redirects there."""
    library = Library(world.served)
    with Hub(wrap(library.answer)) as cdn:

        def redirecting(request: Request) -> Answer:
            found = library.answer(request)
            if "Location" in found.headers:
                signed = urlsplit(found.headers["Location"])
                found.headers["Location"] = f"{cdn.url}{signed.path}?{signed.query}"
            return found

        yield cdn, redirecting


def test_the_token_is_nowhere_but_at_the_hub(world: World):
    """Looked for in every process's command line and environment, on the volume, in the output, at the host
    that the hub redirects to."""
    with_big_file(world)
    opened = threading.Event()
    with elsewhere(world, held(opened, after=5 << 18)) as (cdn, redirecting):
        hub = world.start(lambda respond: gated(redirecting))
        process = world.command(
            "prepare", "--only", "big", "--connections", "4", HF_TOKEN=TOKEN, HF_ENDPOINT=hub.url
        )
        wait_for(lambda: bytes_done(world.volume.partial("big")) > 0)
        ours = psutil.Process(process.pid)
        below = ours.children(recursive=True)
        assert [child.name() for child in below] == ["aria2c"]
        for one in (ours, *below):
            assert TOKEN not in " ".join(one.cmdline())
        assert TOKEN not in str(below[0].environ())
        assert_absent(world.volume.root)
        opened.set()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert TOKEN not in out + err
        assert_absent(world.volume.root)
        assert any("Authorization" in request.headers for request in hub.requests)
        assert not any(TOKEN in str(request) for request in cdn.requests)
    assert world.volume.path("big.bin").read_bytes() == BIG


def assert_absent(folder: Path) -> None:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # aria2 writes its control file anew
            assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_what_the_hub_gives_with_the_token_alone_comes_without_aria2_and_is_continued(world: World):
    """A small file of a gated repository is served by the hub itself."""
    with_big_file(world)
    world.serve("http://direct.example/big.bin", BIG)
    cuts = iter([2 << 20])

    def direct(respond: Respond) -> Respond:
        def answer(request: Request) -> Answer:
            right = gated(respond)(request)
            if "Location" not in right.headers:
                return right
            found = respond(replace(request, target="/direct.example/big.bin"))
            if request.method == "GET":
                found.cut_after = next(cuts, None)
            return found

        return answer

    hub = world.start(direct)
    world.prepare("big", addresses=Addresses(endpoint=hub.url, token=TOKEN))
    assert world.volume.path("big.bin").read_bytes() == BIG
    assert hub.bytes_sent < len(BIG) + (1 << 20)
    assert {request.headers.get("User-Agent", "")[:7] for request in hub.requests} == {"libmoe/"}


# ---- proxies


class Crowd:
    """The most connections that were open to a host at once. What a client has closed does not count."""

    def __init__(self) -> None:
        self.most: dict[str, int] = {}
        self._open: dict[str, set[socket.socket]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def member(self, host: str, connection: socket.socket) -> Iterator[None]:
        """For as long as a request is answered."""
        with self._lock:
            others = self._open.setdefault(host, set())
            now = 1 + sum(not _is_closed(other) for other in others)
            self.most[host] = max(now, self.most.get(host, 0))
            others.add(connection)
        try:
            yield
        finally:
            with self._lock:
                others.remove(connection)


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


@contextmanager
def proxy(hub: Hub) -> Iterator[tuple[str, list[str], Crowd]]:
    """A forward proxy that knows one server; notes what it is asked for, and how many ask at once."""
    asked: list[str] = []
    crowd = Crowd()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._pass_on()

        def do_GET(self) -> None:
            with crowd.member(urlsplit(self.path).netloc, self.connection), suppress(ConnectionError):
                self._pass_on()

        def _pass_on(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('User-Agent')}")
            url = urlsplit(self.path)
            passed = {name: value for name, value in self.headers.items() if name == "Range"}
            address = f"{hub.url}/{url.netloc}{url.path}"
            with (
                httpx.Client(trust_env=False) as client,
                client.stream(self.command, address, headers=passed) as found,
            ):
                self.send_response(found.status_code)
                for name in ("Content-Length", "Content-Range", "ETag"):
                    if name in found.headers:
                        self.send_header(name, found.headers[name])
                self.end_headers()
                for chunk in found.iter_raw():
                    self.wfile.write(chunk)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked, crowd
        server.shutdown()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_proxy_is_used_for_what_is_outside(world: World, variable: str):
    """The host exists at the proxy alone."""
    with_big_file(world, "http://only-there.example/big.bin")
    hub = world.start()
    with proxy(hub) as (address, asked, _):
        code, _, err = world.run("prepare", "--only", "big", **{variable: address})
    assert code == 0, err
    assert world.volume.path("big.bin").read_bytes() == BIG
    assert any(line.startswith("HEAD http://only-there.example/big.bin") for line in asked)
    assert any(line.startswith("GET http://only-there.example/big.bin") for line in asked)


def test_no_proxy_is_honoured(world: World):
    with_big_file(world)
    hub = world.start()
    code, _, err = world.run(
        "prepare", "--only", "big", "--mirror", hub.url, http_proxy="http://127.0.0.1:9", no_proxy="127.0.0.1"
    )
    assert code == 0, err


# ---- how many at once


def slow(respond: Respond) -> Respond:
    """Connections last long enough to meet."""

    def answer(request: Request) -> Answer:
        return replace(respond(request), bytes_per_second=3_000_000)

    return answer


def test_a_hosts_limit_holds_over_all_its_files_and_others_go_on_beside_it(world: World):
    for number in range(3):
        world.add(f"few{number}", "file", f"http://few.example/{number}.bin", BIG, f"few{number}.bin")
    world.add("many", "file", "http://many.example/many.bin", BIG, "many.bin")
    hub = world.start(slow)
    with proxy(hub) as (address, _, crowd):
        catalog = world.catalog_file()
        catalog.write_text(f'{catalog.read_text()}\n[connections]\n"few.example" = 2\n')
        names = [argument for name in world.artifacts for argument in ("--only", name)]
        world.catalog_file = lambda: catalog  # type: ignore[method-assign]
        code, _, err = world.run("prepare", *names, "--connections", "4", http_proxy=address)
    assert code == 0, err
    assert crowd.most["few.example"] <= 2
    assert crowd.most["many.example"] > 2


def test_connections_are_lent_and_given_back():
    hosts = Hosts({"few": 2}, 8)
    first = hosts.try_lease("http://few/a", None)
    assert first is not None
    assert first.connections == 2
    assert hosts.try_lease("http://few/b", 1) is None
    with first, hosts.try_lease("http://other/c", None) as other, hosts.try_lease("http://other/d", None):
        assert other.connections == 8
        assert hosts.try_lease("http://other/e", None) is None
    assert hosts.try_lease("http://few/b", None) is not None


def test_a_small_file_takes_one_connection():
    hosts = Hosts({}, 8)
    assert [hosts.try_lease("http://h/a", size).connections for size in (0, 10, 3 << 20)] == [1, 1, 3]


def test_waiting_for_a_connection_ends_when_told_to_stop():
    hosts, stop = Hosts({"few": 1}, 8), threading.Event()
    with hosts.lease("http://few/a", None, stop):
        threading.Timer(0.2, stop.set).start()
        with pytest.raises(StoppedError):
            hosts.lease("http://few/b", None, stop)


# ---- pace


def test_a_source_may_be_slow_to_start_but_not_for_ever():
    clock = [0.0]
    watch = Pace(Retry(slow_seconds=10, slow_bytes_per_second=100), lambda: clock[0])
    for at, done in [(5.0, 0), (14.0, 0), (15.0, 1000), (24.0, 1000), (25.0, 2500)]:
        clock[0] = at
        watch.tell(done)
    clock[0] = 36.0
    with pytest.raises(UnreachableError, match="gave only 50 bytes per second for 10 seconds") as caught:
        watch.tell(3000)
    assert caught.value.slow


@pytest.mark.parametrize(
    ("counts", "left", "lost"),
    [
        ([8] * 9, 1 << 30, False), ([8, 8, 8, 2, 2, 2, 2], 1 << 30, True),
        ([8, 8, 8, 2, 8, 2, 8], 1 << 30, False), ([8, 8, 8, 2, 2, 2, 2], 1 << 20, False),
        ([8, 2, 2, 2, 2, 2, 2], 1 << 30, False),
    ],
)  # fmt: skip
def test_a_source_that_lets_nobody_in_any_more_is_asked_anew(counts: list[int], left: int, lost: bool):
    """Every 10 s the number of connections; the second look still belongs to the settling."""
    clock = [0.0]
    served, raised = Connections(lambda: clock[0]), False
    for count in counts:
        clock[0] += 10
        try:
            served.tell(count, left)
        except UnreachableError:
            raised = True
    assert raised is lost


def test_an_expired_signature_does_not_leave_a_file_with_one_connection(world: World, monkeypatch):
    monkeypatch.setattr(pace, "SETTLED_SECONDS", 1.0)
    monkeypatch.setattr(pace, "LOST_SECONDS", 0.3)
    monkeypatch.setattr(pace, "_BYTES_A_CONNECTION", 1000)
    with_big_file(world)

    def uneven(respond: Respond) -> Respond:
        """One connection takes its time; the others soon want more to do, and the signature has expired."""
        good_for = 0

        def answer(request: Request) -> Answer:
            nonlocal good_for
            found = respond(request)
            if found.file is None:
                good_for = connections
            elif good_for == 0:
                return Answer(403)
            else:
                good_for -= 1
                found.bytes_per_second = 200_000 if found.start == 0 else 900_000
            return found

        return answer

    connections = 4
    hub = world.start(uneven)
    world.prepare("big", connections=connections)
    assert world.volume.path("big.bin").read_bytes() == BIG
    waited = [event.reason for event in world.events if isinstance(event, Waiting)]
    assert any("connections where it served" in reason for reason in waited)
    assert len([request for request in hub.requests if request.target.startswith("/hugging")]) > 1


# ---- mirrors that are folders


def test_a_copy_from_a_folder_is_continued(world: World):
    with_big_file(world)
    mirror, artifact = f"file://{world.served}", world.catalog().artifact("big")
    with Resolver(Addresses(mirror), "test") as resolver:
        record = Record(resolver.resolve(artifact, artifact.urls[0]))
    write_record(world.volume.partial_state("big"), record)
    world.volume.partial("big").write_bytes(BIG[: 5 << 20])
    world.prepare("big", mirror=mirror)
    assert world.volume.path("big.bin").read_bytes() == BIG
    fetched = [event.done for event in world.events if isinstance(event, Progress) and event.phase == "fetch"]
    assert fetched == [6 << 20]


def test_a_folder_with_another_file_under_the_name_is_refused(world: World):
    with_big_file(world)
    world.serve(URL, BIG[:-1])
    code, _, err = world.run("prepare", "--only", "big", "--mirror", f"file://{world.served}")
    assert code == 65
    assert f"offers bytes {len(BIG) - 1} where the catalogue promises {len(BIG)}" in err

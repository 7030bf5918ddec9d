"""Through a proxy, as in a closed network: CONNECT for https, whole addresses for http, and around it."""

import base64
import select
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from entrypoint.sample.hub import Answer, Request, Respond
from tests.entrypoint.prepare.conftest import World

CONTENT = bytes(range(256)) * 12_000
OUTSIDE = "only-there.example"
PASSWORD = "p:ss w@rd"
CREDENTIALS = "user:p%3Ass%20w%40rd"
WHO_ARE_YOU = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def relay(one: socket.socket, other: socket.socket) -> None:
    """Passes bytes on, both ways, until either side hangs up; in one thread, as TLS is not for two."""
    with suppress(OSError):
        while True:
            decrypted = [end for end in (one, other) if isinstance(end, ssl.SSLSocket) and end.pending()]
            for source in decrypted or select.select([one, other], [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                (other if source is one else one).sendall(data)


@contextmanager
def proxy(places: Mapping[str, int], password: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """A forward proxy; it alone knows where the hosts are. Gives its port and what it was asked for."""
    asked: list[str] = []
    wanted = f"Basic {base64.b64encode(f'user:{password}'.encode()).decode()}"

    class Handler(socketserver.StreamRequestHandler):
        rbufsize = 0

        def handle(self) -> None:
            line, fields = self._head()
            if not line:
                return
            asked.append(line)
            method, target, version = line.split()
            host = target if method == "CONNECT" else urlsplit(target).netloc
            if password and fields.get("proxy-authorization") != wanted:
                self.wfile.write(WHO_ARE_YOU)
                return
            with socket.create_connection(("127.0.0.1", places[host])) as origin:
                if method == "CONNECT":
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    rest = target.partition("://")[2].partition("/")[2]
                    kept = [
                        f"{n}: {v}\r\n"
                        for n, v in fields.items()
                        if n not in ("connection", "proxy-authorization")
                    ]
                    head = [f"{method} /{rest} {version}\r\n", *kept, "Connection: close\r\n\r\n"]
                    origin.sendall("".join(head).encode())
                relay(self.connection, origin)

        def _head(self) -> tuple[str, dict[str, str]]:
            lines = []
            with suppress(ConnectionError):
                while line := self.rfile.readline().decode("latin-1").strip():
                    lines.append(line)
            pairs = (line.partition(":") for line in lines[1:])
            return (lines or [""])[0], {name.lower(): value.strip() for name, _, value in pairs}

    with serving(Handler) as port:
        yield port, asked


@contextmanager
def with_tls(certificate: Path, key: Path, behind: int) -> Iterator[int]:
    """Speaks TLS in front of a server that does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as inside,
                socket.create_connection(("127.0.0.1", behind)) as plain,
            ):
                relay(inside, plain)

    with serving(Handler) as port:
        yield port


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A network's own authority, and what it vouches for: certificate and key."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, authority_key, request, certificate, key, names = (
        folder / name for name in ("ca.pem", "ca-key.pem", "request.pem", "server.pem", "key.pem", "names")
    )
    new = ["-newkey", "rsa:2048", "-nodes"]
    openssl(
        "req", "-x509", *new, "-keyout", authority_key, "-out", authority, "-days", "2", "-subj", "/CN=Ours"
    )
    openssl("req", *new, "-keyout", key, "-out", request, "-subj", f"/CN={OUTSIDE}")
    names.write_text(f"subjectAltName=DNS:{OUTSIDE},DNS:huggingface.co,DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key, "-CAcreateserial",
            "-days", "2", "-extfile", names, "-out", certificate)  # fmt: skip
    return authority, certificate, key


@pytest.fixture
def origin(world: World, certificates) -> Iterator[tuple[World, int, int]]:
    """A hub that answers for every host by its name, with TLS and without; both ports."""

    def by_name(respond: Respond) -> Respond:
        def answer(request: Request) -> Answer:
            if request.target.startswith("/cdn/"):
                return respond(request)
            fields = {name.lower(): value for name, value in request.headers.items()}
            return respond(replace(request, target=f"/{fields['host'].partition(':')[0]}{request.target}"))

        return answer

    hub = world.start(by_name)
    plain = int(hub.url.rpartition(":")[2])
    with with_tls(*certificates[1:], plain) as tls:
        yield world, tls, plain


def fetches(world: World, url: str, **environment: str) -> tuple[int, str]:
    world.add("big", "file", url, CONTENT, "big.bin")
    served = f"{url.partition('://')[0]}://{urlsplit(url).hostname}{urlsplit(url).path}"
    world.serve(served, CONTENT)
    code, _, err = world.run("prepare", "--only", "big", "--connections", "2", **environment)
    if code == 0:
        assert world.volume.path("big.bin").read_bytes() == CONTENT
        assert {request.method for request in world.hub.requests} == {"HEAD", "GET"}  # ours, aria2's
    return code, err


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_https_through_a_tunnel(origin, certificates, variable: str):
    world, tls, _ = origin
    with proxy({f"{OUTSIDE}:443": tls}) as (port, asked):
        names = {variable: f"http://127.0.0.1:{port}", "SSL_CERT_FILE": str(certificates[0])}
        code, err = fetches(world, f"https://{OUTSIDE}/big.bin", **names)
    assert code == 0, err
    assert {line.split()[0] for line in asked} == {"CONNECT"}
    assert len(asked) >= 3  # one to ask, two to fetch


def test_an_authority_that_nobody_named_is_not_trusted(origin):
    world, tls, _ = origin
    with proxy({f"{OUTSIDE}:443": tls}) as (port, _):
        code, err = fetches(world, f"https://{OUTSIDE}/big.bin", https_proxy=f"http://127.0.0.1:{port}")
    assert code == 69
    assert "name its authority in SSL_CERT_FILE" in err
    assert not world.hub.requests


def test_the_hub_by_https_and_where_it_redirects_by_http(origin, certificates):
    world, tls, plain = origin
    with proxy({"huggingface.co:443": tls, "huggingface.co": plain}) as (port, asked):
        names = dict.fromkeys(("https_proxy", "http_proxy"), f"http://127.0.0.1:{port}")
        url = "https://huggingface.co/org/m/resolve/main/big.bin"
        world.add("big", "file", url, CONTENT, "big.bin")
        code, _, err = world.run("prepare", "--only", "big", SSL_CERT_FILE=str(certificates[0]), **names)
    assert code == 0, err
    assert world.volume.path("big.bin").read_bytes() == CONTENT
    assert any(line.startswith("CONNECT huggingface.co:443 ") for line in asked)
    assert any(line.startswith("GET http://huggingface.co/cdn/") for line in asked)


@pytest.mark.parametrize(
    ("scheme", "around", "host"),
    [
        ("https", "localhost,other", "localhost"),
        ("https", "other, 127.0.0.1", "127.0.0.1"),
        ("http", "*", "127.0.0.1"),
    ],
)
def test_around_the_proxy(origin, certificates, scheme: str, around: str, host: str):
    world, tls, plain = origin
    dead = dict.fromkeys(("https_proxy", "http_proxy", "all_proxy"), "http://127.0.0.1:9")
    url = f"{scheme}://{host}:{tls if scheme == 'https' else plain}/big.bin"
    code, err = fetches(world, url, no_proxy=around, SSL_CERT_FILE=str(certificates[0]), **dead)
    assert code == 0, err


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password(origin, certificates, scheme: str):
    world, tls, plain = origin
    with proxy({f"{OUTSIDE}:443": tls, OUTSIDE: plain}, PASSWORD) as (port, _):
        names = dict.fromkeys(("https_proxy", "http_proxy"), f"http://{CREDENTIALS}@127.0.0.1:{port}")
        url = f"{scheme}://{OUTSIDE}/big.bin"
        code, err = fetches(world, url, SSL_CERT_FILE=str(certificates[0]), **names)
    assert code == 0, err
    for path in world.volume.hidden.rglob("*"):
        assert not path.is_file() or CREDENTIALS.encode() not in path.read_bytes()


def test_a_proxy_that_gets_another_password(origin):
    world, tls, _ = origin
    with proxy({f"{OUTSIDE}:443": tls}, "another") as (port, _):
        code, err = fetches(
            world, f"https://{OUTSIDE}/big.bin", https_proxy=f"http://{CREDENTIALS}@127.0.0.1:{port}"
        )
    assert code == 69
    assert f"cannot be reached through the proxy 127.0.0.1:{port}, which answers 407" in err.splitlines()[-1]
    assert CREDENTIALS not in err


def test_a_proxy_that_is_away(world: World):
    world.add("big", "file", f"https://{OUTSIDE}/big.bin", CONTENT, "big.bin")
    code, _, err = world.run("prepare", "--only", "big", https_proxy=f"http://{CREDENTIALS}@127.0.0.1:9")
    assert code == 69
    assert "through the proxy 127.0.0.1:9" in err.splitlines()[-1]
    assert CREDENTIALS not in err

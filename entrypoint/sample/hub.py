"""A small HTTP server that answers as the hubs do, over a folder laid out ``<root>/<host>/<path>``.

``http://here/huggingface.co/<repo>/resolve/<revision>/<file>`` redirects to a signed URL that expires, and
tells size, sha256 and commit in its headers; every other file is served as it is. Ranges and ETags work
everywhere.
A file is stored where its URL's path says, so a folder served here is a mirror for ``prepare --mirror URL``.
"""

import argparse
import contextlib
import hashlib
import hmac
import mimetypes
import secrets
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

_CHUNK = 1 << 16
_SIGNED = "/cdn/"


@dataclass(frozen=True)
class Request:
    """What a client asks for."""

    method: str
    target: str
    """Path and query as sent."""
    headers: Mapping[str, str]
    base: str
    """This server's own address."""


@dataclass
class Answer:
    """What it gets: a status, headers, and a stretch of a file."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    file: Path | None = None
    start: int = 0
    stop: int = 0
    bytes_per_second: float | None = None
    """Slows a connection down."""
    cut_after: int | None = None
    """Drops the connection after so many bytes."""
    tamper: Callable[[int, bytes], bytes] | None = None
    """Makes of the bytes at an offset what is sent; a `ConnectionResetError` from it resets all."""


Respond = Callable[[Request], Answer]


class Library:
    """The files below a folder, as a hub answers for them. `answer` may be wrapped to inject faults."""

    def __init__(self, root: Path, signed_for_seconds: float = 3600) -> None:
        """Serves the files below ``root``; a signed URL is good for so many seconds."""
        self._root = root.resolve()
        self._signed_for_seconds = signed_for_seconds
        self._key = secrets.token_bytes(16)
        self._digests: dict[tuple[Path, int, int], str] = {}

    def answer(self, request: Request) -> Answer:
        """The hub's answer to a request."""
        url = urlsplit(request.target)
        signed = url.path.startswith(_SIGNED)
        path = unquote("/" + url.path.removeprefix(_SIGNED) if signed else url.path)
        file = (self._root / path.lstrip("/")).resolve()
        if not file.is_relative_to(self._root) or not file.is_file():
            return Answer(HTTPStatus.NOT_FOUND)
        if signed:
            query = parse_qs(url.query)
            if not self._valid(path, query.get("Expires", [""])[0], query.get("Signature", [""])[0]):
                return Answer(HTTPStatus.FORBIDDEN)
        elif path.startswith("/huggingface.co/") and "/resolve/" in path:
            return self._redirect(request, path, file)
        return self._content(request, file)

    def _redirect(self, request: Request, path: str, file: Path) -> Answer:
        expires = str(int(time.time() + self._signed_for_seconds))
        query = f"Expires={expires}&Signature={self._sign(path, expires)}"
        digest = self._digest(file)
        headers = {
            "Location": f"{request.base}{_SIGNED}{quote(path.lstrip('/'))}?{query}",
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(file.stat().st_size),
            "X-Repo-Commit": hashlib.sha1(path.split("/resolve/")[1].split("/")[0].encode()).hexdigest(),
        }
        return Answer(HTTPStatus.FOUND, headers)

    def _content(self, request: Request, file: Path) -> Answer:
        size = file.stat().st_size
        headers = {
            "Content-Type": mimetypes.guess_type(file.name)[0] or "application/octet-stream",
            "Accept-Ranges": "bytes",
            "ETag": f'"{self._digest(file)[:32]}"',
        }
        wanted = _range(request.headers.get("Range"), size)
        if wanted is None:
            return Answer(HTTPStatus.OK, headers, file, 0, size)
        start, stop = wanted
        if start >= stop:
            return Answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Answer(HTTPStatus.PARTIAL_CONTENT, headers, file, start, stop)

    def _digest(self, file: Path) -> str:
        status = file.stat()
        key = (file, status.st_size, status.st_mtime_ns)
        if key not in self._digests:
            with file.open("rb") as content:
                self._digests[key] = hashlib.file_digest(content, "sha256").hexdigest()
        return self._digests[key]

    def _sign(self, path: str, expires: str) -> str:
        return hmac.new(self._key, f"{path} {expires}".encode(), "sha256").hexdigest()

    def _valid(self, path: str, expires: str, signature: str) -> bool:
        expected = self._sign(path, expires)
        return hmac.compare_digest(signature, expected) and time.time() < float(expires)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """The stretch asked for as ``[start, stop)``; None for the whole file."""
    if not header or not header.startswith("bytes=") or "," in header:
        return None
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last) + 1, size) if last else size


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed is no error of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Hub:
    """The running server; a context manager that counts what it was asked and what it gave."""

    def __init__(self, respond: Respond, port: int = 0, host: str = "127.0.0.1") -> None:
        """Answers with ``respond``, on a free port unless one is named."""
        self._respond = respond
        self._server = _Server((host, port), self._handler())
        self._counting = threading.Lock()
        self.requests: list[Request] = []
        self.bytes_sent = 0

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        host, port = self._server.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve_forever(self) -> None:
        """Serves until it is interrupted."""
        self._server.serve_forever()

    def _answer(self, request: Request) -> Answer:
        with self._counting:
            self.requests.append(request)
        return self._respond(request)

    def _sent(self, count: int) -> None:
        with self._counting:
            self.bytes_sent += count

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                address = self.headers.get("Host") or urlsplit(hub.url).netloc
                request = Request(self.command, self.path, dict(self.headers), f"http://{address}")
                try:
                    self._send(hub._answer(request))
                except ConnectionError:  # closing now resets
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True

            do_HEAD = do_GET

            def _send(self, answer: Answer) -> None:
                self.send_response_only(answer.status)
                usual = {"Date": self.date_time_string(), "Content-Length": str(answer.stop - answer.start)}
                headers = {**usual, **answer.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET" and answer.file is not None:
                    self._stream(answer, answer.file)

            def _stream(self, answer: Answer, path: Path) -> None:
                left = answer.stop - answer.start
                if answer.cut_after is not None:
                    left = min(left, answer.cut_after)
                    self.close_connection = True
                with path.open("rb") as file:
                    file.seek(answer.start)
                    while left > 0:
                        chunk = file.read(min(_CHUNK, left))
                        if answer.tamper:
                            chunk = answer.tamper(file.tell() - len(chunk), chunk)
                        hub._sent(len(chunk))  # first: whoever has all of it finds it counted
                        self.wfile.write(chunk)
                        left -= len(chunk)
                        if answer.bytes_per_second:
                            time.sleep(len(chunk) / answer.bytes_per_second)

            def log_message(self, format: str, *args: object) -> None:
                """Silent: what matters is counted."""

        return Handler


@contextlib.contextmanager
def serve(root: Path, port: int = 0) -> Iterator[str]:
    """Serves a folder while the context lasts and gives the address."""
    with Hub(Library(root).answer, port) as hub:
        yield hub.url


def main() -> None:
    """``python -m entrypoint.sample.hub ROOT --port N``."""
    parser = argparse.ArgumentParser(description="Serve a folder <root>/<host>/<path> as the hubs do.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    hub = Hub(Library(arguments.root).answer, arguments.port, arguments.host)
    print(hub.url, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        hub.serve_forever()


if __name__ == "__main__":
    main()

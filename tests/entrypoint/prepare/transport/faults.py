"""What a server can do wrong: each fault wraps the answers of a hub that does everything right."""

import itertools
import random
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from entrypoint.sample.hub import Answer, Request, Respond

Fault = Callable[[Respond], Respond]
FOREVER = 1 << 30
GOOD = "/good.example/"
"""No fault touches what is asked for below this."""


def none(respond: Respond) -> Respond:
    return respond


def instead(answer: Answer, times: int = FOREVER, method: str | None = None) -> Fault:
    """Some other answer, the first times (to a method)."""
    return _when(lambda request: method in (None, request.method), lambda request, right: answer, times)


def body(change: Callable[[Answer], None], times: int = FOREVER) -> Fault:
    """Changes how a file's bytes are sent."""

    def changed(request: Request, right: Answer) -> Answer:
        if right.file is not None:
            change(right)
        return right

    return _when(lambda request: request.method == "GET", changed, times)


def headers(method: str | None = None, **fields: str) -> Fault:
    """Sends other headers."""
    named = {name.replace("_", "-").title(): value for name, value in fields.items()}

    def changed(request: Request, right: Answer) -> Answer:
        return replace(right, headers={**right.headers, **named})

    return _when(lambda request: method in (None, request.method), changed, FOREVER)


def _when(meant: Callable[[Request], bool], change: Callable[[Request, Answer], Answer], times: int) -> Fault:
    left = itertools.count(times, -1)

    def wrap(respond: Respond) -> Respond:
        def answer(request: Request) -> Answer:
            right = respond(request)
            if GOOD in request.target or not meant(request) or next(left) <= 0:
                return right
            return change(request, right)

        return answer

    return wrap


def cut(at: int) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.cut_after = at

    return change


def slow(bytes_per_second: float) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.bytes_per_second = bytes_per_second

    return change


def flip(seed: int) -> Callable[[Answer], None]:
    """One bit of the file is another."""
    where = random.Random(seed)

    def change(answer: Answer) -> None:
        at, bit = where.randrange(answer.start, answer.stop), 1 << where.randrange(8)

        def tamper(offset: int, chunk: bytes) -> bytes:
            if not offset <= at < offset + len(chunk):
                return chunk
            changed = bytearray(chunk)
            changed[at - offset] ^= bit
            return bytes(changed)

        answer.tamper = tamper

    return change


def stall(after: int) -> Callable[[Answer], None]:
    """Sends nothing any more, and does not hang up."""

    def change(answer: Answer) -> None:
        def tamper(offset: int, chunk: bytes) -> bytes:
            if offset - answer.start >= after:
                time.sleep(20)
                raise ConnectionResetError
            return chunk

        answer.tamper = tamper

    return change


def reset(after: int) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        def tamper(offset: int, chunk: bytes) -> bytes:
            if offset - answer.start >= after:
                raise ConnectionResetError
            return chunk

        answer.tamper = tamper

    return change


def hang_up(times: int = FOREVER) -> Fault:
    """The connection is reset before there is an answer."""

    def refuse(request: Request, right: Answer) -> Answer:
        raise ConnectionResetError

    return _when(lambda request: True, refuse, times)


def no_ranges(respond: Respond) -> Respond:
    """Whatever part is asked for, the whole is sent."""

    def answer(request: Request) -> Answer:
        asked = {name: value for name, value in request.headers.items() if name.lower() != "range"}
        right = respond(replace(request, headers=asked))
        right.headers.pop("Accept-Ranges", None)
        return right

    return answer


def both(first: Fault, second: Fault) -> Fault:
    return lambda respond: first(second(respond))


def replaced_while_read(path: str) -> Fault:
    """From the second stretch on, another file of the hub is served under the same name."""
    reads = itertools.count()

    def wrap(respond: Respond) -> Respond:
        replaced = False

        def answer(request: Request) -> Answer:
            nonlocal replaced
            replaced = replaced or (request.method == "GET" and next(reads) > 0)
            return respond(replace(request, target=path) if replaced else request)

        return answer

    return wrap


@dataclass
class Socket:
    """A server that speaks no HTTP: says what it was given and hangs up."""

    words: bytes = b""
    context: ssl.SSLContext | None = None
    _socket: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    @contextmanager
    def running(self) -> Iterator["Socket"]:
        threading.Thread(target=self._serve, daemon=True).start()
        try:
            yield self
        finally:
            self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            try:
                with connection, self._wrapped(connection) as wrapped:
                    wrapped.recv(65536)
                    wrapped.sendall(self.words)
            except OSError:
                continue

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        return self.context.wrap_socket(connection, server_side=True) if self.context else connection


def self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate that nobody vouches for."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
         "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context

"""JSON lines between two launchers, over a connection that notices when the other side is gone."""

import contextlib
import json
import select
import socket
import time
from typing import Any

_KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 40_000}
"""Seconds, but for the last: a side that was cut off is noticed within 40 of them."""
_SEND_SECONDS = 20


class Wire:
    """One end; `closed` once the other side has hung up or was cut off."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._pending = b""
        self.here: str = connection.getsockname()[0]
        self.there: str = connection.getpeername()[0]
        self.closed = False
        self.heard = time.monotonic()
        """When something last arrived."""
        connection.settimeout(_SEND_SECONDS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def send(self, **message: Any) -> None:
        """Sends, or finds the connection closed."""
        if self.closed:
            return
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.closed = True

    def receive(self, seconds: float = 0.0) -> list[dict[str, Any]]:
        """What has arrived, waiting up to this many seconds for the first of it."""
        if not self.closed and select.select([self._socket], [], [], seconds)[0]:
            try:
                arrived = self._socket.recv(1 << 16)
            except OSError:
                arrived = b""
            self.closed = not arrived
            self._pending += arrived
            self.heard = time.monotonic()
        *lines, self._pending = self._pending.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Hangs up, after what was sent has left."""
        self.closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()


def interface_of(address: str) -> str | None:
    """The name of the network interface that has an IPv4 address; None where none has."""
    import fcntl
    import struct

    get_address = 0x8915  # SIOCGIFADDR
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(any_socket.fileno(), get_address, request)
            except OSError:  # an interface without an address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None

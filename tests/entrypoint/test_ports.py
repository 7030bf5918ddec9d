"""Ports of this machine."""

import socket
from contextlib import closing

import pytest

from entrypoint.ports import KeptPort


def test_a_kept_port_is_for_whoever_knows_it() -> None:
    with closing(KeptPort()) as port:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port.number))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port.number))
        with socket.create_server(("", port.number)):
            socket.create_connection(("127.0.0.1", port.number)).close()

"""Ports of this machine."""

import socket


def free_port(address: str = "") -> int:
    """A port on which nobody listens now, at one address of this machine or at all of them."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


class KeptPort:
    """A free port at all addresses of this machine that nobody else is given until it is closed.

    Whoever knows its number can listen there meanwhile, if it sets SO_REUSEADDR, as torch's store does.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("", 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Gives it back."""
        self._socket.close()

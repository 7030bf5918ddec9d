"""Ports of this machine."""

import socket


def free_port(address: str = "") -> int:
    """A port on which nobody listens now, at one address of this machine or at all of them."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port

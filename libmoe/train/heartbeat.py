"""This rank's signs of life to the launcher; without one to hear them, they are not sent."""

import contextlib
import os
import socket

from libmoe.config.beat import VARIABLE, Beat

_SEND_SECONDS = 0.05


class Heartbeat:
    """One of each rank. A beat that cannot be delivered is dropped: the next one says all of it again."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._count = 0
        self._address = os.environ.get(VARIABLE)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_SEND_SECONDS)

    def beat(self, doing: str, step: int = 0) -> None:
        """Says what comes now, after ``step`` finished optimizer steps."""
        self._count += 1
        if self._address:
            beat = Beat(self._rank, os.getpid(), self._count, step, doing)
            with contextlib.suppress(OSError):
                self._socket.sendto(beat.encode(), f"\0{self._address}")

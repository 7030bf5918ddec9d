"""Hears the ranks of this node, and knows when none has moved for too long."""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import replace

from entrypoint.process_id import is_stopped
from libmoe.config.beat import Beat

_LONGEST = 4096


class Watch:
    """Listens from the moment it is made; ``address`` is what ranks are told; use as a context manager."""

    def __init__(self) -> None:
        self.address = f"libmoe-{os.getpid()}-{uuid.uuid4().hex}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{self.address}")
        self._beats: dict[int, Beat] = {}
        self._heard = time.monotonic()
        self._thread = threading.Thread(target=self._listen, name="beats of the ranks", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    @property
    def beats(self) -> list[Beat]:
        """The latest of each rank that was heard."""
        return [_as_it_is(beat) for beat in list(self._beats.values())]

    @property
    def silence(self) -> float:
        """Seconds since any rank was heard; 0 before the first, as then it may be the ear that fails."""
        return time.monotonic() - self._heard if self._beats else 0.0

    def step_of(self, rank: int) -> int:
        """The last step that a rank has finished."""
        return self._beats[rank].step if rank in self._beats else 0

    def _listen(self) -> None:
        while datagram := self._socket.recv(_LONGEST):
            beat = Beat.decode(datagram)
            self._beats[beat.rank] = beat
            self._heard = time.monotonic()


def _as_it_is(beat: Beat) -> Beat:
    """A stopped process (SIGSTOP, a debugger) holds up the others, whatever it did last."""
    if not is_stopped(beat.pid):
        return beat
    return replace(beat, count=-1, doing=f"{beat.doing}, its process is stopped")


def hung_sentence(beats: Iterable[Beat], minutes: float) -> str:
    """Who holds up whom; there is one beat at least."""
    everyone = sorted(beats, key=lambda beat: beat.rank)
    least = min(beat.count for beat in everyone)
    slowest = [beat for beat in everyone if beat.count == least]
    last = f"the last step was {slowest[0].step}"
    if len(slowest) == len(everyone) > 1:
        where = f"({slowest[0].doing}), each waiting for the others"
        return f"All ranks hung for {minutes:g} minutes {where}; {last}"
    ranks = ", ".join(str(beat.rank) for beat in slowest)
    word = "Rank" if len(slowest) == 1 else "Ranks"
    waiting = "; the others wait for it" if len(slowest) < len(everyone) else ""
    return f"{word} {ranks} hung for {minutes:g} minutes ({slowest[0].doing}){waiting}; {last}"

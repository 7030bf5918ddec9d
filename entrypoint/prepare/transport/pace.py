"""Notices a source that stands still or crawls, or lets fewer and fewer connections in."""

import time
from collections.abc import Callable

from entrypoint.prepare.transport.retry import Retry, UnreachableError

SETTLED_SECONDS = 30.0
"""By then a source serves as many connections as it will."""
LOST_SECONDS = 5.0
_BYTES_A_CONNECTION = 4 << 20
"""With less than that left for each, connections end because there is nothing more for them to do."""


class Pace:
    """The speed of one attempt at one source."""

    def __init__(self, retry: Retry, now: Callable[[], float] = time.monotonic) -> None:
        """``now``: seconds on a monotonic clock."""
        self._window = retry.slow_seconds
        self._least = retry.slow_bytes_per_second * retry.slow_seconds
        self._now = now
        self._since = 0.0
        self._done: int | None = None

    def tell(self, done: int) -> None:
        """Takes note that this many bytes are there now.

        Raises:
            UnreachableError: next to nothing came for too long.
        """
        if self._done is None:
            self._since, self._done = self._now(), done
        if self._now() - self._since < self._window:
            return
        came = done - self._done
        if came < self._least:
            rate = "nothing" if came <= 0 else f"only {came / self._window:.0f} bytes per second"
            raise UnreachableError(f"gave {rate} for {self._window:.0f} seconds", slow=True)
        self._since, self._done = self._now(), done


class Connections:
    """The connections of one attempt.

    A signed URL that expired still serves the connections that it has and refuses new ones: a file would end
    with one connection where it began with many.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """``now``: seconds on a monotonic clock."""
        self._now = now
        self._since = now()
        self._settled = 0
        self._fewer_since: float | None = None

    def tell(self, connections: int, left: int) -> None:
        """Takes note that this many are served now, with this many bytes still to come.

        Raises:
            UnreachableError: most that were served are not any more.
        """
        now = self._now()
        if now - self._since < SETTLED_SECONDS:
            self._settled = connections
            return
        if 2 * connections >= self._settled or left < self._settled * _BYTES_A_CONNECTION:
            self._fewer_since = None
            return
        self._fewer_since = self._fewer_since or now
        if now - self._fewer_since >= LOST_SECONDS:
            raise UnreachableError(f"serves {connections} connections where it served {self._settled}")

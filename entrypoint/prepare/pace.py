"""Notices a source that stands still or crawls."""

import time
from collections.abc import Callable

from entrypoint.prepare.retry import Retry, UnreachableError


class Pace:
    """Of one attempt at one source."""

    def __init__(self, retry: Retry, now: Callable[[], float] = time.monotonic) -> None:
        """``now``: seconds on a clock that nobody sets."""
        self._window = retry.slow_seconds
        self._least = retry.slow_bytes_per_second * retry.slow_seconds
        self._now = now
        self._since = 0.0
        self._done: int | None = None

    def tell(self, done: int) -> None:
        """So many bytes are there now.

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

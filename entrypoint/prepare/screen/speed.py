"""How fast something goes and how long it will take, from what was done when."""

import time
from collections import deque
from collections.abc import Callable

_WINDOW_SECONDS = 20.0


class Speed:
    """The rate over the last seconds."""

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or time.monotonic
        self._seen: deque[tuple[float, int]] = deque()

    def tell(self, done: int) -> None:
        """Takes note that this much is done now; less than before starts again."""
        now = self._now()
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW_SECONDS and len(self._seen) > 2:
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """Per second; None while it is not known."""
        if len(self._seen) < 2:
            return None
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - start) if end > start else None

    def left(self, total: int | None) -> float | None:
        """Seconds until ``total`` is done, at this rate; None where that is not known."""
        if not total or not self.rate or not self._seen:
            return None
        return max(0.0, total - self._seen[-1][1]) / self.rate


def duration(seconds: float) -> str:
    """Seconds for a person.

    >>> [duration(count) for count in (9, 75, 4000, 90000)]
    ['9 s', '1 min 15 s', '1 h 6 min', '25 h']
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h" if hours >= 10 else f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

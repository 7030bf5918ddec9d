"""How long to wait before a source is asked again, and when to give up."""

import random
from dataclasses import dataclass, field


class StoppedError(Exception):
    """We were told to stop; what came so far is kept."""


class UnreachableError(Exception):
    """A source failed in a way that may pass."""

    def __init__(
        self, reason: str, retry_after: float | None = None, answered: bool = True, slow: bool = False
    ) -> None:
        """``retry_after``: seconds the source asked for; ``answered``: False if nobody listens there;
        ``slow``: it gives next to nothing."""
        super().__init__(reason)
        self.retry_after = retry_after
        self.answered = answered
        self.slow = slow


class RefusedError(Exception):
    """A source will not give the file: the next URL has to."""

    def __init__(self, reason: str, bad: bool = False, slow: bool = False) -> None:
        """``bad``: it gives something else instead; ``slow``: it would give it, in its own time."""
        super().__init__(reason)
        self.bad = bad
        self.slow = slow


@dataclass(frozen=True)
class Retry:
    """Exponential back-off with jitter."""

    attempts: int = 8
    attempts_if_silent: int = 3
    """For an address where nobody listens."""
    attempts_if_slow: int = 2
    """For a source that crawls or stands still, while another could be asked."""
    base_seconds: float = 1.0
    longest_seconds: float = 60.0
    longest_asked_seconds: float = 600.0
    """A source that asks for more patience than that counts as having refused."""
    slow_seconds: float = 60.0
    """A source may give next to nothing for this long."""
    slow_bytes_per_second: float = 10_000
    """What next to nothing is."""


@dataclass
class Patience:
    """With one source: counts its failures in a row."""

    retry: Retry
    others: bool = False
    """Whether another source could be asked."""
    failures: int = 0
    slow: int = 0
    _random: random.Random = field(default_factory=random.Random)

    def reset(self) -> None:
        """Something got through: what failed before does not count any more."""
        self.failures = 0

    def wait(self, error: UnreachableError) -> float:
        """Seconds until the next attempt.

        Raises:
            RefusedError: another would be of no use.
        """
        self.failures += 1
        self.slow += error.slow
        if error.slow and self.others and self.slow >= self.retry.attempts_if_slow:
            raise RefusedError(f"{error}, {self.slow} times", slow=True) from error
        allowed = self.retry.attempts if error.answered else self.retry.attempts_if_silent
        if self.failures >= allowed:
            raise RefusedError(f"{error}, {self.failures} times in a row") from error
        if error.retry_after is not None:
            return self._as_asked(error, error.retry_after)
        longest = min(self.retry.base_seconds * 2 ** (self.failures - 1), self.retry.longest_seconds)
        return longest * self._random.uniform(0.5, 1.0)

    def _as_asked(self, error: UnreachableError, seconds: float) -> float:
        if seconds > self.retry.longest_asked_seconds:
            raise RefusedError(f"{error} and asks to come back in {seconds:.0f} seconds") from error
        return max(0.0, seconds)

"""How long to wait before a source is asked again, and when to give up."""

import random
from dataclasses import dataclass, field


class UnreachableError(Exception):
    """A source failed in a way that may pass."""

    def __init__(self, reason: str, retry_after: float | None = None, answered: bool = True) -> None:
        """``retry_after``: seconds the source asked for; ``answered``: False if nobody listens there."""
        super().__init__(reason)
        self.retry_after = retry_after
        self.answered = answered


class RefusedError(Exception):
    """A source will not give the file: the next URL has to. ``bad``: it gives something else instead."""

    def __init__(self, reason: str, bad: bool = False) -> None:
        super().__init__(reason)
        self.bad = bad


@dataclass(frozen=True)
class Retry:
    """Exponential back-off with jitter."""

    attempts: int = 8
    attempts_if_silent: int = 3
    """For an address where nobody listens."""
    base_seconds: float = 1.0
    longest_seconds: float = 60.0


@dataclass
class Patience:
    """Of one source: counts the failures in a row."""

    retry: Retry
    failures: int = 0
    _random: random.Random = field(default_factory=random.Random)

    def reset(self) -> None:
        """Something got through: what failed before does not count any more."""
        self.failures = 0

    def wait(self, error: UnreachableError) -> float:
        """Seconds until the next attempt.

        Raises:
            RefusedError: there is no use in another.
        """
        self.failures += 1
        allowed = self.retry.attempts if error.answered else self.retry.attempts_if_silent
        if self.failures >= allowed:
            raise RefusedError(f"{error}, {self.failures} times in a row") from error
        if error.retry_after is not None:
            return min(error.retry_after, self.retry.longest_seconds)
        longest = min(self.retry.base_seconds * 2 ** (self.failures - 1), self.retry.longest_seconds)
        return longest * self._random.uniform(0.5, 1.0)

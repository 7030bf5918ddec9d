"""What prepare tells while it works. Whoever calls it decides how that reaches a person."""

from collections.abc import Callable
from dataclasses import dataclass


class Event:
    """Base of all that can be told; a plan (`Planned`) and a report (`Audited`) are told as well."""


@dataclass(frozen=True)
class Progress(Event):
    """An artifact is in a phase (fetch, verify, unpack, index, images) and got so far; repeated."""

    name: str
    phase: str
    done: int
    total: int | None
    """In bytes, except for the phases index (rows) and images."""


@dataclass(frozen=True)
class Waiting(Event):
    """A source failed in a way that may pass."""

    name: str
    url: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class Skipped(Event):
    """A source was given up."""

    name: str
    url: str
    reason: str


@dataclass(frozen=True)
class Finished(Event):
    """An artifact is whole, verified and in its place."""

    name: str
    files: int
    size: int


@dataclass(frozen=True)
class Failed(Event):
    """An artifact did not come; the others go on."""

    name: str
    message: str


@dataclass(frozen=True)
class Said(Event):
    """Something worth a line."""

    line: str


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """For callers that want the result alone."""

"""What prepare tells while it works. Whoever calls it decides how that reaches a person."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entrypoint.prepare.plan import Plan
    from entrypoint.prepare.report import Report


@dataclass(frozen=True)
class Planned:
    """What will be done, before the first byte."""

    plan: "Plan"


@dataclass(frozen=True)
class Progress:
    """An artifact is in a phase (fetch, verify, unpack, index, images) and got so far; repeated."""

    name: str
    phase: str
    done: int
    total: int | None
    """In bytes, except for the phases index (rows) and images."""


@dataclass(frozen=True)
class Waiting:
    """A source failed in a way that may pass."""

    name: str
    url: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class Skipped:
    """A source was given up."""

    name: str
    url: str
    reason: str


@dataclass(frozen=True)
class Finished:
    """An artifact is whole, verified and in its place."""

    name: str
    files: int
    size: int


@dataclass(frozen=True)
class Failed:
    """An artifact could not be had; the others go on."""

    name: str
    message: str


@dataclass(frozen=True)
class Said:
    """Something worth a line."""

    line: str


@dataclass(frozen=True)
class Audited:
    """The end: what every stage can be trained with."""

    report: "Report"


Event = Planned | Progress | Waiting | Skipped | Finished | Failed | Said | Audited
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """For callers that want the result alone."""

"""What an audit found: per annotation set and per stage, in numbers and in words."""

from dataclasses import asdict, dataclass, field
from typing import Any

from entrypoint.prepare.events import Event
from libmoe.config.errors import DataError

TOLERATED = 0.01
"""Share of a set's rows that may be unusable in a set that is ready: sources do lose images."""


@dataclass(frozen=True)
class SetAudit:
    """One annotation set against the disk."""

    name: str
    not_ready: tuple[str, ...]
    """Artifacts it needs that are not ready, each with the reason."""
    rows: int = 0
    text_only: int = 0
    images: int = 0
    """Different images that its rows name; the next four add up to it."""
    present: int = 0
    missing: int = 0
    empty: int = 0
    undecodable: int = 0
    """Of those present, as far as they were decoded."""
    examples: tuple[str, ...] = ()
    """The first images that cannot be used."""
    unused: tuple[str, ...] = ()
    """Artifacts of images it is said to need, of which no row names any."""
    unusable: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Every image that cannot be used, with the reason."""
    unusable_rows: tuple[int, ...] = field(default=(), repr=False)
    """Numbers, from 0, of the rows with such an image."""

    @property
    def ready(self) -> bool:
        """Whether it can be trained on, perhaps without a few rows."""
        return not self.not_ready and len(self.unusable_rows) <= TOLERATED * self.rows

    @property
    def verdict(self) -> str:
        """In words."""
        if self.not_ready:
            return f"not ready: {self.not_ready[0]}"
        lost = len(self.unusable_rows)
        if not lost:
            return "ready"
        return f"ready but for {lost} rows" if self.ready else f"not ready: {lost} rows lack their image"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the number of unusable rows instead of all of theirs."""
        fields = {**asdict(self), "unusable_rows": len(self.unusable_rows), "verdict": self.verdict}
        del fields["unusable"]
        return fields


@dataclass(frozen=True)
class Report:
    """Everything that was selected."""

    sets: tuple[SetAudit, ...]
    stages: dict[str, tuple[str, ...]]
    """Stage to its annotation sets."""
    not_ready: tuple[str, ...]
    """Artifacts that are not ready, each with the reason."""

    @property
    def ready(self) -> bool:
        """Whether all of it can be trained on."""
        return not self.not_ready and all(audit.ready for audit in self.sets)

    def stage_verdict(self, stage: str) -> str:
        """Of all sets of a stage: the first that is not ready, else how many rows are lost."""
        audits = [audit for audit in self.sets if audit.name in self.stages[stage]]
        for audit in audits:
            if not audit.ready:
                return audit.verdict
        lost = sum(len(audit.unusable_rows) for audit in audits)
        return f"ready but for {lost} rows" if lost else "ready"

    def require_ready(self) -> None:
        """Does nothing if all of it can be trained on.

        Raises:
            DataError: something cannot; says what.
        """
        if self.ready:
            return
        reasons = [f"{audit.name} is {audit.verdict}" for audit in self.sets if not audit.ready]
        first = self.not_ready[0] if self.not_ready else reasons[0]
        raise DataError(f"The volume is not ready: {first}; run `libmoe prepare` for the same selection.")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ready": self.ready,
            "stages": {stage: self.stage_verdict(stage) for stage in self.stages},
            "annotations": [audit.as_dict() for audit in self.sets],
            "not_ready": list(self.not_ready),
        }


@dataclass(frozen=True)
class Audited(Event):
    """What every stage can be trained with, told at the end."""

    report: Report

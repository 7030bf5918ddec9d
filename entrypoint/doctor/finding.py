"""What an examination says of one thing: how it is, and what to do where it is not well."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``fail`` would stop a run, ``warn`` may slow or surprise it."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""
    """What to do; empty where all is well."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", found)


def warn(check: str, found: str, remedy: str) -> Finding:
    """A run may be slow or surprise."""
    return Finding(check, "warn", found, remedy)


def fail(check: str, found: str, remedy: str) -> Finding:
    """A run would stop."""
    return Finding(check, "fail", found, remedy)

"""Why ranks ended: one of several reasons may be the cause of the others."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from libmoe.config.errors import LibmoeError, TryAgainError
from libmoe.config.rank_failure import Cause


@dataclass(frozen=True)
class Verdict:
    """A reason, in words for the person."""

    cause: Cause
    exit_code: int
    message: str

    @classmethod
    def of(cls, error: LibmoeError) -> "Verdict":
        """The inverse of `error`, for an error that kept the ranks from being started."""
        cause = Cause.LOST_NODE if isinstance(error, RanksLostError) else Cause.FAILED
        return cls(cause, error.exit_code, str(error))

    def to_json(self) -> dict[str, Any]:
        """As another node is told it."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Verdict":
        """The inverse of `to_json`."""
        return cls(Cause(fields["cause"]), fields["exit_code"], fields["message"])

    def error(self) -> LibmoeError:
        """As the command's error."""
        if self.cause in (Cause.FAILED, Cause.INTERRUPTED):
            error = LibmoeError(self.message)
            error.exit_code = self.exit_code
            return error
        return RanksLostError(self.message)


class RanksLostError(TryAgainError):
    """Ranks ended through no fault of the run: it can go on from its last checkpoint at once."""


def gravest(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """The one that explains the others; the first of several alike."""
    return max((verdict for verdict in verdicts if verdict), key=lambda verdict: verdict.cause, default=None)

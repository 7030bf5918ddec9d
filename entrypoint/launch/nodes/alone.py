"""A run on one node."""

from entrypoint.launch.nodes.interface import Rendezvous, Report
from entrypoint.launch.ranks.verdict import Verdict
from entrypoint.launch.ranks.watch import hung_sentence
from entrypoint.ports import KeptPort
from libmoe.config.errors import LibmoeError, TryAgainError
from libmoe.config.rank_failure import Cause
from libmoe.config.run import RunSpec


class Alone:
    """Nobody to talk to; see ``Link``."""

    def __init__(self, hang_minutes: float) -> None:
        self._port = KeptPort()  # the ranks take seconds until they listen
        self.rendezvous = Rendezvous("127.0.0.1", self._port.number, "lo")
        self._hang_minutes = hang_minutes

    def begin(self, spec: RunSpec) -> None:
        """See ``Link``."""

    def exchange(self, report: Report) -> Verdict | None:
        """See ``Link``."""
        return hang(report, self._hang_minutes)

    def settle(self, own: Verdict | None) -> Verdict | None:
        """See ``Link``."""
        return own

    def refuse(self, error: LibmoeError) -> None:
        """See ``Link``."""

    def close(self) -> None:
        """See ``Link``."""
        self._port.close()


def hang(report: Report, minutes: float) -> Verdict | None:
    """Whether no rank has made progress for this many minutes; 0: never."""
    if not minutes or report.silence < minutes * 60:
        return None
    sentence = (
        f"{hung_sentence(report.beats, minutes)}: the stacks of all ranks are in the log; "
        "the same command continues from the last checkpoint."
    )
    return Verdict(Cause.HUNG, TryAgainError.exit_code, sentence)

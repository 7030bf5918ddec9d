"""How the nodes of a run know of each other while their ranks train."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from entrypoint.launch.ranks.verdict import Verdict
from libmoe.config.beat import Beat
from libmoe.config.errors import LibmoeError
from libmoe.config.run import RunSpec


@dataclass(frozen=True)
class Rendezvous:
    """Where the ranks find each other: at rank 0's ``address``, by the network ``interface`` of this node."""

    address: str
    port: int
    interface: str | None


@dataclass(frozen=True)
class Report:
    """What a node says of its own ranks; ``silence`` is in seconds."""

    beats: Sequence[Beat]
    silence: float


class Link(Protocol):
    """A node's tie to the others."""

    rendezvous: Rendezvous

    def begin(self, spec: RunSpec) -> None:
        """Waits until all nodes can start their ranks; the run folder has to be there on the first.

        Raises:
            LibmoeError: a node is gone, or does not see the run folder.
        """

    def exchange(self, report: Report) -> Verdict | None:
        """Called several times a second; a verdict means that the ranks here must end."""

    def settle(self, own: Verdict | None) -> Verdict | None:
        """Tells how the ranks here ended; the reason that holds for all nodes, None if all is well."""

    def refuse(self, error: LibmoeError) -> None:
        """Tells the others why nothing starts here."""

    def close(self) -> None:
        """Nothing more is said."""

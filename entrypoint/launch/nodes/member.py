"""A node other than the first: comes to node 0 and does as it decides."""

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from entrypoint.launch.nodes.coordinator import LOST_SECONDS, PING_SECONDS
from entrypoint.launch.nodes.interface import Rendezvous, Report
from entrypoint.launch.nodes.settings import Place
from entrypoint.launch.nodes.shared import see
from entrypoint.launch.nodes.wire import Wire, interface_of
from entrypoint.launch.ranks.verdict import Verdict, gravest
from libmoe.config.errors import LibmoeError, TryAgainError
from libmoe.config.rank_failure import Cause
from libmoe.config.run import RunSpec

_LOOK_SECONDS = 0.05
_RETRY_SECONDS = 1.0


class Member:
    """See ``Link``; made by `join`, when node 0 answers."""

    def __init__(self, wire: Wire, place: Place) -> None:
        self._wire = wire
        self._place = place
        self._order: Verdict | None = None
        self._final: list[Verdict | None] = []
        self._pinged = 0.0
        self.rendezvous = Rendezvous(place.master_addr, 0, interface_of(wire.here))

    def begin(self, spec: RunSpec) -> None:
        """Waits until node 0 has prepared the run, which may take it minutes, and looks for the run folder.

        Raises:
            ConfigError: this node does not see the run folder.
            LibmoeError: node 0 found something wrong, or is gone.
        """
        go = None
        while go is None:
            for message in self._wire.receive(1.0):
                self._heed(message)
                go = message.get("go", go)
            if self._order:
                raise self._order.error()
            if go is None and self._wire.closed:
                raise self._lost().error()
        self.rendezvous = Rendezvous(self._place.master_addr, go["port"], self.rendezvous.interface)
        try:
            see(spec.run_dir, go["token"], self._place.rank)
        except LibmoeError as error:
            self.refuse(error)
            raise
        self._wire.send(ready=1)

    def exchange(self, report: Report) -> Verdict | None:
        """See ``Link``."""
        now = time.monotonic()
        if now - self._pinged > PING_SECONDS:
            self._pinged = now
            self._wire.send(beats=[asdict(beat) for beat in report.beats], silence=report.silence)
        self._listen()
        if self._order is None and self._is_silent():
            return self._lost()
        return self._order

    def settle(self, own: Verdict | None) -> Verdict | None:
        """See ``Link``."""
        self._wire.send(outcome=own.to_json() if own else None)
        while not self._final and not self._is_silent():
            self._listen()
            time.sleep(_LOOK_SECONDS)
        self._listen()
        return self._final[0] if self._final else gravest([own, self._order, self._lost()])

    def refuse(self, error: LibmoeError) -> None:
        """Tells node 0 why nothing starts here."""
        self._wire.send(outcome=Verdict.of(error).to_json())

    def close(self) -> None:
        """See ``Link``."""
        self._wire.close()

    def _listen(self) -> None:
        for message in self._wire.receive():
            self._heed(message)

    def _is_silent(self) -> bool:
        return self._wire.closed or time.monotonic() - self._wire.heard > LOST_SECONDS

    def _heed(self, message: Mapping[str, Any]) -> None:
        if "order" in message:
            self._order = Verdict.from_json(message["order"])
        if "final" in message:
            self._final = [Verdict.from_json(message["final"]) if message["final"] else None]

    def _lost(self) -> Verdict:
        return Verdict(
            Cause.LOST_NODE,
            TryAgainError.exit_code,
            f"Node 0 ({self._place.master_addr}) was lost: it was ended or its network failed; "
            "the same command on all nodes continues from the last checkpoint.",
        )


def join(place: Place, identity: Mapping[str, object], minutes: float, say: Callable[[str], None]) -> Member:
    """Comes to node 0, waiting until it is there.

    Raises:
        TryAgainError: it was not there in time.
    """
    say(f"waiting for node 0 at {place.where}, up to {minutes:g} minutes")
    until = time.monotonic() + minutes * 60
    while True:
        try:
            connection = socket.create_connection((place.master_addr, place.master_port), timeout=10)
            break
        except OSError as error:
            if time.monotonic() > until:
                raise TryAgainError(
                    f"Node 0 did not answer at {place.where} within {minutes:g} minutes "
                    f"({error.strerror or error}): "
                    "start the same command there, or correct --master-addr and --master-port."
                ) from error
            time.sleep(_RETRY_SECONDS)
    wire = Wire(connection)
    wire.send(hello=place.rank, identity=identity)
    return Member(wire, place)

"""Node 0 of several: waits for the others, hears of their ranks, and decides for all."""

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from entrypoint.launch.nodes.alone import hang
from entrypoint.launch.nodes.interface import Rendezvous, Report
from entrypoint.launch.nodes.settings import Place
from entrypoint.launch.nodes.shared import difference, show
from entrypoint.launch.nodes.wire import Wire, interface_of
from entrypoint.launch.ranks.verdict import Verdict, gravest
from entrypoint.ports import KeptPort
from libmoe.config.beat import Beat
from libmoe.config.errors import ConfigError, LibmoeError, TryAgainError
from libmoe.config.rank_failure import Cause
from libmoe.config.run import RunSpec

PING_SECONDS = 2.0
LOST_SECONDS = 30.0
"""A node that is silent for longer than this is lost."""
_LOOK_SECONDS = 0.05
_READY_SECONDS = 120.0
_HELLO_SECONDS = 10.0
_REMIND_SECONDS = 30.0


class Coordinator:
    """See ``Link``; made by `gather`, when all nodes are there."""

    def __init__(self, wires: dict[int, Wire], place: Place, hang_minutes: float) -> None:
        address = next(iter(wires.values())).here
        self._port = KeptPort()  # the ranks take seconds until they listen
        self.rendezvous = Rendezvous(place.master_addr, self._port.number, interface_of(address))
        self._wires = wires
        self._hang_minutes = hang_minutes
        self._reports: dict[int, Report] = {}
        self._ended: dict[int, tuple[float, Verdict | None]] = {}
        self._ready: set[int] = set()
        self._pinged = 0.0

    def begin(self, spec: RunSpec) -> None:
        """Shows the others the run folder, and waits until they have seen it.

        Raises:
            LibmoeError: a node cannot see it, or is gone.
        """
        token = secrets.token_hex(8)
        with show(spec.run_dir, token):
            self._tell(go={"port": self.rendezvous.port, "token": token})
            until = time.monotonic() + _READY_SECONDS
            while waiting := set(self._wires) - self._ready:
                self._ping()  # those that are ready wait for us meanwhile
                self._listen()
                for node in sorted(waiting):
                    _, verdict = self._ended.get(node, (0.0, None))
                    if verdict:
                        raise verdict.error()
                    if self._wires[node].closed or time.monotonic() > until:
                        raise self._lost(node).error()
                time.sleep(_LOOK_SECONDS)
        for wire in self._wires.values():
            wire.heard = time.monotonic()

    def exchange(self, report: Report) -> Verdict | None:
        """See ``Link``."""
        self._ping()
        self._listen()
        verdict = self._judge(report, time.monotonic())
        if verdict:
            self._tell(order=verdict.to_json())
        return verdict

    def settle(self, own: Verdict | None) -> Verdict | None:
        """See ``Link``."""
        if own:
            self._tell(order=own.to_json())
        while waiting := set(self._wires) - set(self._ended):
            self._ping()
            self._listen()
            for node in waiting:
                if self._is_silent(node):
                    self._ended[node] = time.monotonic(), self._lost(node)
            time.sleep(_LOOK_SECONDS)
        final = gravest([own, *(verdict for _, verdict in self._ended.values())])
        self._tell(final=final.to_json() if final else None)
        return final

    def refuse(self, error: LibmoeError) -> None:
        """Tells the others why nothing starts."""
        verdict = Verdict.of(error).to_json()
        self._tell(order=verdict, final=verdict)

    def close(self) -> None:
        """See ``Link``."""
        for wire in self._wires.values():
            wire.close()
        self._port.close()

    def _ping(self) -> None:
        if time.monotonic() - self._pinged > PING_SECONDS:
            self._pinged = time.monotonic()
            self._tell(ping=1)

    def _is_silent(self, node: int) -> bool:
        wire = self._wires[node]
        return wire.closed or time.monotonic() - wire.heard > LOST_SECONDS

    def _tell(self, **message: Any) -> None:
        for wire in self._wires.values():
            wire.send(**message)

    def _listen(self) -> None:
        for node, wire in self._wires.items():
            for message in wire.receive():
                if "beats" in message:
                    beats = [Beat(**beat) for beat in message["beats"]]
                    self._reports[node] = Report(beats, message["silence"])
                if "ready" in message:
                    self._ready.add(node)
                if "outcome" in message:
                    self._ended[node] = time.monotonic(), _verdict(message["outcome"])

    def _judge(self, own: Report, now: float) -> Verdict | None:
        for node in self._wires:
            ended, verdict = self._ended.get(node, (now, None))
            if verdict and (verdict.cause is not Cause.INTERRUPTED or now - ended > LOST_SECONDS):
                return verdict  # ranks of an interrupted node have agreed with ours to save, so wait for ours
            if node not in self._ended and self._is_silent(node):
                return self._lost(node)
        everyone = [own, *self._reports.values()]
        beats = [beat for report in everyone for beat in report.beats]
        return hang(Report(beats, min(report.silence for report in everyone)), self._hang_minutes)

    def _lost(self, node: int) -> Verdict:
        return Verdict(
            Cause.LOST_NODE,
            TryAgainError.exit_code,
            f"Node {node} ({self._wires[node].there}) was lost: it was ended or its network failed; "
            "the same command on all nodes continues from the last checkpoint.",
        )


def gather(
    place: Place,
    identity: Mapping[str, object],
    hang_minutes: float,
    minutes: float,
    say: Callable[[str], None],
) -> Coordinator:
    """Waits for all other nodes.

    Raises:
        TryAgainError: some did not come in time; names them.
        ConfigError: the port is taken, or a node was started with other settings.
    """
    try:
        listener = socket.create_server(("", place.master_port), backlog=place.nodes)
    except OSError as error:
        raise ConfigError(
            f"Cannot wait for the other nodes on port {place.master_port} ({error.strerror}): "
            "choose another with --master-port, the same on all nodes."
        ) from error
    wires: dict[int, Wire] = {}
    until = time.monotonic() + minutes * 60
    reminded = told = -1.0
    with listener:
        while len(wires) < place.nodes - 1:
            now = time.monotonic()
            if told != len(wires) or now - reminded > _REMIND_SECONDS:
                told, reminded = len(wires), now
                say(_waiting(place, wires, until - now))
            if now > until:
                for wire in wires.values():
                    wire.close()
                raise TryAgainError(
                    f"{_missing(place, wires)} did not come to {place.where} within "
                    f"{minutes:g} minutes: start the same command there, and again here."
                )
            listener.settimeout(0.5)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                wires = {node: wire for node, wire in wires.items() if not _gone(wire)}
                continue
            with contextlib.suppress(OSError):  # gone before it said anything
                _welcome(Wire(connection), wires, place, identity)
    return Coordinator(wires, place, hang_minutes)


def _welcome(wire: Wire, wires: dict[int, Wire], place: Place, identity: Mapping[str, object]) -> None:
    """Adds a node that says who it is, unless it cannot belong to this run."""
    hello = next((message for message in wire.receive(_HELLO_SECONDS) if "hello" in message), None)
    if hello is None:  # something else that knocked at our port
        wire.close()
        return
    node = hello["hello"]
    problem = difference(identity, hello["identity"], node)
    if node in wires and not _gone(wires[node]):
        both = f"{wires[node].there} and {wire.there}"
        problem = f"Two nodes have rank {node}, {both}: give each its own --node-rank."
    if problem:
        refusal = Verdict(Cause.FAILED, ConfigError.exit_code, problem).to_json()
        for other in [wire, *wires.values()]:
            other.send(order=refusal, final=refusal)
            other.close()
        raise ConfigError(problem)
    wires[node] = wire


def _gone(wire: Wire) -> bool:
    wire.receive()
    return wire.closed


def _verdict(fields: dict[str, Any] | None) -> Verdict | None:
    return Verdict.from_json(fields) if fields else None


def _waiting(place: Place, wires: Mapping[int, Wire], seconds: float) -> str:
    return (
        f"waiting for {_missing(place, wires).lower()} at {place.where}, "
        f"{len(wires) + 1} of {place.nodes} nodes are here, up to {seconds / 60:.1f} minutes more"
    )


def _missing(place: Place, wires: Mapping[int, Wire]) -> str:
    absent = [str(node) for node in range(1, place.nodes) if node not in wires]
    return f"Node{'s' if len(absent) > 1 else ''} {', '.join(absent)}"

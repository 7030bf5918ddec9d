"""Launchers of several nodes, as threads: how they meet, what they refuse, whom they miss."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entrypoint.launch.nodes import coordinator, member, shared
from entrypoint.launch.nodes.interface import Link, Report
from entrypoint.launch.nodes.meet import meet
from entrypoint.launch.nodes.settings import Place
from entrypoint.launch.ranks.verdict import RanksLostError, Verdict
from entrypoint.ports import KeptPort
from libmoe.config.beat import Beat
from libmoe.config.errors import ConfigError, LibmoeError, TryAgainError
from libmoe.config.rank_failure import Cause
from libmoe.config.run import RunSpec, World
from tests.waiting import wait_for

FAILED = Verdict(Cause.FAILED, 65, "cat.jpg does not decode.")
QUIET = Report([], 0.0)


class Nodes:
    """Runs the same thing on every node, each in a thread."""

    def __init__(self, spec: RunSpec, count: int) -> None:
        self._kept = KeptPort()
        self.port = self._kept.number
        self.count = count
        self.spec = spec.model_copy(update={"world": World(device="cpu", processes=1, nodes=count)})
        self.said: list[str] = []

    def meet(self, rank: int, minutes: float = 0.2, spec: RunSpec | None = None) -> Link:
        place = Place(self.count, rank, "127.0.0.1", self.port)
        return meet(place, spec or self.spec, minutes, self.said.append)

    def all(self, act: Callable[[int], Any], ranks: list[int] | None = None) -> dict[int, Any]:
        """What each gave or raised."""
        results: dict[int, Any] = {}

        def run(rank: int) -> None:
            try:
                results[rank] = act(rank)
            except LibmoeError as error:
                results[rank] = error

        chosen = list(range(self.count)) if ranks is None else ranks
        threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in chosen]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(results) == len(chosen), "somebody waits for ever"
        return results


@pytest.fixture
def nodes(manifest: Callable[[], RunSpec]) -> Callable[[int], Nodes]:
    spec = manifest()
    spec.run_dir.mkdir()
    return lambda count: Nodes(spec, count)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "PING_SECONDS", 0.05)
    monkeypatch.setattr(member, "PING_SECONDS", 0.05)
    monkeypatch.setattr(coordinator, "LOST_SECONDS", 4.0)
    monkeypatch.setattr(member, "LOST_SECONDS", 4.0)
    monkeypatch.setattr(shared, "_SEEN_SECONDS", 0.5)


def until_told(link: Link, report: Report = QUIET) -> Verdict:
    while not (verdict := link.exchange(report)):
        time.sleep(0.02)
    return verdict


def test_three_nodes_meet_train_and_end_well(nodes: Callable[[int], Nodes]) -> None:
    three = nodes(3)

    def train(rank: int) -> Any:
        link = three.meet(rank)
        link.begin(three.spec)
        assert link.exchange(QUIET) is None
        final = link.settle(None)
        link.close()
        return link.rendezvous, final

    results = three.all(train)
    assert {final for _, final in results.values()} == {None}
    assert len({rendezvous for rendezvous, _ in results.values()}) == 1
    assert results[0][0].interface == "lo"
    assert any(f"waiting for nodes 1, 2 at 127.0.0.1:{three.port}, 1 of 3" in line for line in three.said)
    assert list(three.spec.run_dir.iterdir()) == []


def test_a_failure_on_one_node_is_everybodys(nodes: Callable[[int], Nodes]) -> None:
    three = nodes(3)
    begun = threading.Barrier(3)

    def train(rank: int) -> Any:
        link = three.meet(rank)
        link.begin(three.spec)
        begun.wait(20)
        lost = Verdict(Cause.LOST_RANK, 75, "Connection closed by peer.")
        final = link.settle(FAILED if rank == 2 else until_told(link) and lost)
        link.close()
        return final

    assert set(three.all(train).values()) == {FAILED}


@pytest.mark.parametrize(
    "reason", [ConfigError("No model to start from."), RanksLostError("Node 1 was lost.")]
)
def test_what_keeps_node_0_from_starting_is_everybodys(
    nodes: Callable[[int], Nodes], reason: LibmoeError
) -> None:
    three = nodes(3)

    def train(rank: int) -> Any:
        link = three.meet(rank)
        if rank == 0:
            link.refuse(reason)
            link.close()
            return reason
        return link.begin(three.spec)

    for error in three.all(train).values():
        assert (str(error), error.exit_code) == (str(reason), reason.exit_code)
        assert isinstance(error, RanksLostError) == isinstance(reason, RanksLostError)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("dead", "way"), [(1, "ends"), (1, "is silent"), (0, "ends"), (0, "is silent")])
def test_a_lost_node_ends_the_others(nodes: Callable[[int], Nodes], dead: int, way: str) -> None:
    three = nodes(3)

    def train(rank: int) -> Any:
        link = three.meet(rank)
        link.begin(three.spec)
        if rank == dead:
            time.sleep(0.2)
            if way == "ends":
                link.close()
            return link  # kept, so that the connection stays open
        final = link.settle(until_told(link))
        link.close()
        return final

    results = three.all(train)
    for rank in {0, 1, 2} - {dead}:
        assert isinstance(results[rank].error(), RanksLostError)
        assert results[rank].message.startswith(f"Node {dead} (127.0.0.1) was lost")


@pytest.mark.usefixtures("quick")
def test_who_is_ready_hears_of_node_0_while_another_is_not(
    nodes: Callable[[int], Nodes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "LOST_SECONDS", 3.0)
    three = nodes(3)

    def train(rank: int) -> Any:
        link = three.meet(rank)
        if rank == 2:
            time.sleep(4.5)
        link.begin(three.spec)
        final = link.settle(None)
        link.close()
        return final

    assert set(three.all(train).values()) == {None}


def test_the_hung_rank_of_another_node_is_named_to_all(nodes: Callable[[int], Nodes]) -> None:
    two = nodes(2)
    two.spec = two.spec.model_copy(
        update={
            "config": two.spec.config.model_copy(
                update={"train": two.spec.config.train.model_copy(update={"hang_minutes": 0.5})}
            )
        }
    )
    reports = {0: Report([Beat(0, 1, 9, 4, "computing step 5")], 31.0)}
    reports[1] = Report([Beat(1, 1, 8, 4, "loading the batch of step 5")], 32.0)
    reported = threading.Event()

    def train(rank: int) -> Any:
        link = two.meet(rank)
        link.begin(two.spec)
        if rank == 1:
            link.exchange(reports[1])
            reported.set()
        assert reported.wait(20)  # node 0 has to hear of it before it judges
        final = link.settle(until_told(link, reports[rank]))
        link.close()
        return final

    results = two.all(train)
    assert results[0] == results[1]
    assert results[0].message.startswith("Rank 1 hung for 0.5 minutes (loading the batch of step 5)")


def test_who_did_not_come_is_named(nodes: Callable[[int], Nodes]) -> None:
    three = nodes(3)

    def come(rank: int) -> Any:
        if rank == 1:
            wait_for(lambda: three.said)  # node 0 listens now
        return three.meet(rank, 0.02)

    results = three.all(come, [0, 1])
    assert isinstance(results[0], TryAgainError)
    assert "Node 2 did not come" in str(results[0])


def test_node_0_did_not_come(nodes: Callable[[int], Nodes]) -> None:
    with pytest.raises(
        TryAgainError, match=r"Node 0 did not answer at 127\.0\.0\.1:\d+ within 0\.01 minutes"
    ):
        nodes(2).meet(1, 0.01)


def test_other_settings_are_refused_on_both(
    nodes: Callable[[int], Nodes], manifest: Callable[..., RunSpec]
) -> None:
    two = nodes(2)
    other = manifest(epochs=7).model_copy(update={"world": two.spec.world})

    def train(rank: int) -> Any:
        link = two.meet(rank, spec=other if rank else None)
        link.begin(two.spec)

    results = two.all(train)
    for error in results.values():
        assert isinstance(error, LibmoeError)
        assert error.exit_code == ConfigError.exit_code
        assert "Node 1 was started with train.epochs = 7, node 0 with" in str(error)


@pytest.mark.usefixtures("quick")
def test_a_run_folder_that_is_not_shared(nodes: Callable[[int], Nodes], tmp_path: Path) -> None:
    two = nodes(2)
    (tmp_path / "elsewhere").mkdir()
    elsewhere = two.spec.model_copy(update={"run_dir": tmp_path / "elsewhere"})

    def train(rank: int) -> Any:
        two.meet(rank).begin(elsewhere if rank else two.spec)

    for error in two.all(train).values():
        assert error.exit_code == ConfigError.exit_code
        assert "Node 1 does not see what node 0 writes to" in str(error)


def test_a_port_that_is_taken(nodes: Callable[[int], Nodes]) -> None:
    two = nodes(2)
    with (
        socket.create_server(("", two.port)),
        pytest.raises(ConfigError, match="choose another with --master-port"),
    ):
        two.meet(0)


def test_a_node_that_comes_again_takes_its_old_place(nodes: Callable[[int], Nodes]) -> None:
    """Its first launcher was killed while node 0 still waited for others."""
    three, back = nodes(3), threading.Event()

    def train(rank: int) -> Any:
        if rank == 1:
            first = three.meet(1)
            first.close()
            time.sleep(0.6)
        if rank == 2:
            assert back.wait(60)
        link = three.meet(rank)
        if rank == 1:
            back.set()
        link.begin(three.spec)
        final = link.settle(None)
        link.close()
        return final

    assert set(three.all(train).values()) == {None}

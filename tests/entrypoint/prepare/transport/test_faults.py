"""Drives the table of faults. Whatever a source does, a wrong file never has a final name."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from entrypoint.prepare.events import Event, Skipped, Waiting
from entrypoint.prepare.transport import daemon
from entrypoint.prepare.transport.retry import Retry
from entrypoint.sample.hub import Answer, Request, Respond
from libmoe.config.errors import LibmoeError

from ..conftest import World, nobody_listens
from .fault_table import CASES, GARBAGE, NO_TLS, REFUSED, SERVED, UNTRUSTED, Case
from .faults import GOOD, Socket, self_signed

PATIENCE = Retry(
    attempts=4, attempts_if_silent=2, base_seconds=0.01, longest_seconds=0.2, longest_asked_seconds=5,
    slow_bytes_per_second=30_000,
)  # fmt: skip
AT_ONCE = 8
"""Cases mostly wait."""


@dataclass
class Outcome:
    """What came of a case."""

    tree: dict[str, bytes]
    error: LibmoeError | None
    events: list[Event]
    first: str
    """The address of the faulty source."""
    later: dict[str, bytes] = field(default_factory=dict)
    """The tree once the fault was gone and the same was asked again."""


def run(case: Case, folder: Path) -> Outcome:
    with ExitStack() as stack:
        world = World(folder)
        stack.callback(world.stop)
        for path, content in SERVED.items():
            world.serve(f"http:/{path}", content)
        bad = True

        def weather(respond: Respond) -> Respond:
            faulty = case.fault(respond)

            def answer(request: Request) -> Answer:
                return faulty(request) if bad else respond(request)

            return answer

        hub = world.start(weather).url
        first = address(case.source, hub, folder, stack)
        content = SERVED.get(case.source, SERVED[f"{GOOD}big.bin"])
        destination = "big" if case.kind == "archive" else "big.bin"
        world.add("big", case.kind, "http://x/y", content, destination, **case.fields)
        world.artifacts["big"]["urls"] = [first, f"{hub}{GOOD}big.bin"][: 2 if case.expect == "next" else 1]
        error = attempt(world, case)
        outcome = Outcome(world.tree(), error, list(world.events), first)
        bad = False
        if error is not None and case.source.startswith("/"):
            attempt(world, case)
            outcome.later = world.tree()
        return outcome


def attempt(world: World, case: Case) -> LibmoeError | None:
    try:
        world.prepare(
            "big", mirror=None, connections=4, retry=replace(PATIENCE, slow_seconds=case.slow_seconds)
        )
    except LibmoeError as error:
        return error
    return None


def address(source: str, hub: str, folder: Path, stack: ExitStack) -> str:
    if source.startswith("/"):
        return hub + source
    if source == REFUSED:
        return f"{stack.enter_context(nobody_listens())}/big.bin"
    context = self_signed(folder) if source == UNTRUSTED else None
    server = stack.enter_context(Socket(b"What?\r\n\r\n", context).running())
    return f"{'http' if source == GARBAGE else 'https'}://{server.address}/big.bin"


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory) -> Iterator[dict[str, Future[Outcome]]]:
    items = [item for item in request.session.items if "outcomes" in getattr(item, "fixturenames", ())]
    wanted = {item.callspec.params["case"].name: item.callspec.params["case"] for item in items}
    environment = daemon._environment()
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(AT_ONCE) as pool:
        # pytest changes the environment between tests, while these threads would read it
        patch.setattr(daemon, "_environment", lambda: environment)
        yield {name: pool.submit(run, case, tmp_path_factory.mktemp("case")) for name, case in wanted.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_comes_of(case: Case, outcomes: dict[str, Future[Outcome]]) -> None:
    outcome = outcomes[case.name].result()
    skipped = [event for event in outcome.events if isinstance(event, Skipped)]
    if case.error is not None:
        assert type(outcome.error) is case.error
        assert outcome.error.exit_code == case.error.exit_code
        assert outcome.error.args[0].count("\n") == 0
        with pytest.raises(case.error, match=case.expect):
            raise outcome.error
        assert outcome.tree == {}
    else:
        assert outcome.error is None
        assert outcome.tree == {"big.bin": case.content}
        assert [event.url for event in skipped] == ([outcome.first] if case.expect == "next" else [])
    if case.waits is not None:
        assert len([event for event in outcome.events if isinstance(event, Waiting)]) == case.waits


WRONG_AT_HEART = (UNTRUSTED, REFUSED, GARBAGE, NO_TLS, f"{GOOD}page.bin")
PASSING = [case for case in CASES if case.error and case.source not in WRONG_AT_HEART and case.kind == "file"]


@pytest.mark.parametrize("case", PASSING, ids=lambda case: case.name)
def test_once_the_fault_is_gone_the_same_command_ends_well(
    case: Case, outcomes: dict[str, Future[Outcome]]
) -> None:
    assert outcomes[case.name].result().later == {"big.bin": case.content}

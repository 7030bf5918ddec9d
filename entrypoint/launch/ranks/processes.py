"""One stage's training processes on this node: started, followed, asked to stop, and their end explained."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from entrypoint.launch.nodes.interface import Link, Rendezvous, Report
from entrypoint.launch.ranks.crew import Crew
from entrypoint.launch.ranks.outcome import Ending, explain
from entrypoint.launch.ranks.verdict import Verdict
from entrypoint.launch.ranks.watch import Watch
from libmoe.config.beat import VARIABLE
from libmoe.config.errors import VolumeError
from libmoe.config.rank_failure import Cause
from libmoe.config.run import RunSpec

_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 20.0
"""How long the other ranks get to notice by themselves that one has failed."""
_STACKS_SECONDS = 2.0


def train_stage(
    spec: RunSpec, node: int, link: Link, devices: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Runs this node's ranks of one stage to their end; ``say`` gets rank 0's progress lines.

    Raises:
        RanksLostError: a rank was killed or hung, or a node was lost: the run can go on at once.
        LibmoeError: a rank failed, or the run was interrupted; carries the rank's sentence and exit code.
    """
    log_path = spec.run_dir / (f"log-node-{node}.txt" if node else "log.txt")
    with _writable(log_path) as log, Watch() as watch:
        environment = _environment(spec, link.rendezvous, node, watch.address, devices)
        ending = Ending.before_start(spec, node, log_path)
        with Crew(spec, node * spec.world.processes, environment, log, say) as crew:
            ordered, interrupted = _follow(crew, watch, link, say)
        own = explain(ending, crew.ended, watch, interrupted=interrupted)
        final = link.settle(ordered if ordered and ordered.cause is Cause.HUNG else own or ordered)
    if final:
        raise final.error()


@contextmanager
def _writable(log: Path) -> Iterator[IO[bytes]]:
    try:
        file = log.open("ab")
    except OSError as error:
        raise VolumeError(
            f"Cannot write {log}: {error.strerror}; name another run folder with --run-dir, or make room."
        ) from error
    with file:
        yield file


def _environment(
    spec: RunSpec, rendezvous: Rendezvous, node: int, address: str, devices: Mapping[str, str]
) -> dict[str, str]:
    """Ours for the processes, under what the user has set, under what the run demands."""
    defaults = {"TOKENIZERS_PARALLELISM": "false"}
    if rendezvous.interface:
        defaults["GLOO_SOCKET_IFNAME"] = rendezvous.interface
    fixed = {
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "WORLD_SIZE": str(spec.world.size),
        "LOCAL_WORLD_SIZE": str(spec.world.processes),
        "GROUP_RANK": str(node),
        "MASTER_ADDR": rendezvous.address,
        "MASTER_PORT": str(rendezvous.port),
        VARIABLE: address,
    }
    return {**defaults, **os.environ, **fixed, **devices}


def _follow(crew: Crew, watch: Watch, link: Link, say: Callable[[str], None]) -> tuple[Verdict | None, bool]:
    """Until no rank runs; a first interrupt asks the ranks to save, a second ends them.

    Returns:
        The verdict that ended the ranks, if it was not their own doing; and whether there was an interrupt.
    """
    interrupts = heeded = 0
    while True:
        try:
            if interrupts > heeded:  # in here, as the second may come while the first is passed on
                heeded = interrupts
                if heeded == 1:
                    say("Interrupted: saving a checkpoint; interrupt again to stop at once.")
                    crew.ask_to_stop()
                else:
                    crew.kill()
            return _until_end(crew, watch, link), interrupts > 0
        except KeyboardInterrupt:
            interrupts += 1


def _until_end(crew: Crew, watch: Watch, link: Link) -> Verdict | None:
    """The verdict that ended the ranks, if it was not their own doing."""
    failed: float | None = None
    while crew.running:
        verdict = link.exchange(Report(watch.beats, watch.silence))
        if verdict:
            if verdict.cause is Cause.HUNG:
                crew.dump_stacks()
                time.sleep(_STACKS_SECONDS)
            crew.kill()
            return verdict
        if any(crew.ended.values()):
            failed = failed or time.monotonic()
            if time.monotonic() - failed > _GRACE_SECONDS:
                crew.kill()
        time.sleep(_LOOK_SECONDS)
    return None

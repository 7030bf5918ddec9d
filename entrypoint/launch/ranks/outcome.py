"""Why this node's ranks ended, from what they wrote, how they exited, and what the kernel counted."""

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from entrypoint.launch.ranks.verdict import Verdict, gravest
from entrypoint.launch.ranks.watch import Watch
from entrypoint.launch.resume import checkpoints
from libmoe.config.errors import ConfigError, LibmoeError, TryAgainError, VolumeError
from libmoe.config.rank_failure import Cause, RankFailure
from libmoe.config.run import RunSpec

_VMSTAT = Path("/proc/vmstat")


@dataclass(frozen=True)
class Ending:
    """What is known before this node's ranks start, and explains their end with what they leave."""

    spec: RunSpec
    ranks: range
    log: Path
    kills_before: int
    """Processes that the kernel had ended for memory by then."""

    @classmethod
    def before_start(cls, spec: RunSpec, node: int, log: Path) -> "Ending":
        """Call it just before the ranks start: it removes what they left in an earlier attempt."""
        ranks = range(node * spec.world.processes, (node + 1) * spec.world.processes)
        for rank in ranks:
            RankFailure.forget(spec.run_dir, rank)
        return cls(spec, ranks, log, _out_of_memory_kills())

    @property
    def next(self) -> str:
        """What the same command would do now."""
        saved = checkpoints(self.spec.run_dir)
        if not saved:
            return "the same command starts again, as no checkpoint was saved yet"
        return f"the same command continues from step {max(saved)}"

    @property
    def memory_ran_out(self) -> bool:
        """Whether the kernel has ended a process for memory since the ranks started."""
        return _out_of_memory_kills() > self.kills_before

    def failures(self) -> list[RankFailure]:
        """What the ranks wrote, the first to fail first."""
        left = (RankFailure.read(self.spec.run_dir, rank) for rank in self.ranks)
        return sorted(filter(None, left), key=lambda failure: failure.time)


def explain(
    ending: Ending, ended: Mapping[int, int], watch: Watch, *, interrupted: bool = False
) -> Verdict | None:
    """The cause, or None if all is well.

    Args:
        ended: exit code, or minus the signal, of each rank that was not ended by us.
        interrupted: whether somebody asked this launcher to end.
    """
    return gravest(_reasons(ending, ended, watch, interrupted))


def _reasons(ending: Ending, ended: Mapping[int, int], watch: Watch, interrupted: bool) -> Iterator[Verdict]:
    failures = ending.failures()
    for one in failures:
        told = "" if one.cause is Cause.INTERRUPTED else f" (log: {ending.log})"
        yield Verdict(one.cause, one.exit_code, f"{one.message}{told}")
    if interrupted and (any(ended.values()) or len(ended) < len(ending.ranks)):
        yield Verdict(Cause.INTERRUPTED, TryAgainError.exit_code, f"Training was interrupted; {ending.next}.")
    for rank, code in ended.items():
        if code < 0:
            yield _killed(ending, rank, -code, watch.step_of(rank))
        elif code == VolumeError.exit_code and not failures:  # there was not even room for its failure
            sentence = f"The volume of the run folder {ending.spec.run_dir} is full or cannot be written"
            yield Verdict(Cause.FAILED, code, f"{sentence}: make room; {ending.next}.")
        elif code and not failures:
            yield Verdict(
                Cause.FAILED,
                LibmoeError.exit_code,
                f"Rank {rank} ended with {code} and without a word: "
                f"see {ending.log}, and report it if it is a bug.",
            )


def _killed(ending: Ending, rank: int, number: int, step: int) -> Verdict:
    who = f"Rank {rank} was killed by signal {number} ({_name(number)}) after step {step}"
    if number == signal.SIGBUS:
        message = (
            f"{who}: shared memory is too small for what the loaders hand over: "
            f"give the container more with --shm-size=16g, or set data.workers=0 (log: {ending.log})."
        )
        return Verdict(Cause.FAILED, ConfigError.exit_code, message)
    why = ""
    if number == signal.SIGKILL:
        ran_out = "the machine's or the container's memory ran out"
        remedy = "lower train.micro_batch_size or data.workers, or give it more memory"
        why = (
            f": {ran_out} ({remedy})"
            if ending.memory_ran_out
            else f": {ran_out} ({remedy}), or somebody ended it"
        )
    return Verdict(Cause.KILLED, TryAgainError.exit_code, f"{who}{why}; {ending.next} (log: {ending.log}).")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _out_of_memory_kills() -> int:
    """Processes that the kernel has ended for memory since it started, in all containers."""
    try:
        counters = dict(line.split() for line in _VMSTAT.read_text().splitlines())
    except OSError:
        return 0
    return int(counters.get("oom_kill", 0))

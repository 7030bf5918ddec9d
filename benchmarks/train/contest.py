"""Variants of one training run, measured against each other in rounds."""

import os
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import Pipe
from typing import Any

from benchmarks.train.turns import Step
from entrypoint.ports import free_port
from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec

RANK = "benchmarks.train.rank"
"""The module that a contender runs."""
Rounds = list[list[Step]]
"""The measured steps of every round; nothing where memory does not suffice."""


@dataclass(frozen=True)
class Variant:
    """What computes (see rank.py), and what is set otherwise."""

    name: str
    kind: str
    changes: dict[str, Any]


class Contender:
    """A process that trains a variant, and waits for its turns."""

    def __init__(self, spec: RunSpec, kind: str) -> None:
        spec.run_dir.mkdir()
        self._errors = spec.run_dir / "errors.txt"
        self._line, theirs = Pipe()
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", RANK, str(spec.write()), kind, str(theirs.fileno())],
                env=_environment(spec),
                pass_fds=[theirs.fileno()],
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        theirs.close()
        self.out_of_memory = False

    def step(self) -> Step | None:
        """One step; None where memory does not suffice."""
        if self.out_of_memory:
            return None
        try:
            self._line.send("go")
            made: Step = self._line.recv()
        except (EOFError, OSError):
            if self._process.wait() != ConfigError.exit_code:
                sys.exit(f"A variant failed:\n{self._errors.read_text()[-4000:]}")
            self.out_of_memory = True
            return None
        return made

    def end(self) -> None:
        """Lets it go."""
        self._line.close()
        self._process.wait()


def side_by_side(contenders: list[Contender], steps: int, rounds: int) -> list[Rounds]:
    """A step of each in turn; the first round is warm-up. The rounds of each contender."""
    measured: list[Rounds] = [[] for _ in contenders]
    for number in range(rounds + 1):
        table = [[contender.step() for contender in contenders] for _ in range(steps)]
        if number:
            for rows, column in zip(measured, zip(*table, strict=True), strict=True):
                rows.append([step for step in column if step])
    for contender in contenders:
        contender.end()
    return [[] if any(not row for row in rows) else rows for rows in measured]


def alone(contender: Contender, steps: int, warm_up: int) -> list[Step]:
    """All steps of one after the other, without the first few."""
    made = [contender.step() for _ in range(steps)]
    contender.end()
    return [step for step in made[warm_up:] if step]


def _environment(spec: RunSpec) -> dict[str, str]:
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "TOKENIZERS_PARALLELISM": "false"}
    cpu = {"DS_ACCELERATOR": "cpu"} if spec.world.device == "cpu" else {}
    return {**os.environ, **alone, **meeting, **cpu, "PYTHONPATH": os.pathsep.join(sys.path)}

"""The one rank of a run that is measured, a step a turn: ours, or the baseline.

python -m benchmarks.train.rank RUN_JSON ours|baseline DESCRIPTOR
"""

import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

import libmoe.train.run
from benchmarks.train import baseline
from benchmarks.train.turns import Turns, host_memory
from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec
from libmoe.train.heartbeat import Heartbeat
from libmoe.train.terminal import silent


class TakeTurns(TrainerCallback):
    """Comes before all other callbacks, so that what they do is measured too."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def on_train_begin(self, *_: Any, model: nn.Module, **__: Any) -> None:
        """Starts listening, before the facts of a batch are taken off it."""
        model.register_forward_pre_hook(self._hear, with_kwargs=True)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Waits."""
        self._turns.next()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Tells of the last step."""
        self._turns.next()

    def _hear(self, _: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._turns.hear(kwargs["facts"])


def ours(spec: RunSpec, turns: Turns) -> None:
    """The run as `libmoe train` makes it."""
    make: Any = libmoe.train.run.training_callbacks

    def with_turns(*arguments: Any) -> Any:
        callbacks, interruption = make(*arguments)
        return [TakeTurns(turns), *callbacks], interruption

    setattr(libmoe.train.run, "training_callbacks", with_turns)  # noqa: B010 - a function to the type checker
    libmoe.train.run.run(spec, silent, Heartbeat(0))


def main(run_json: str, kind: str, descriptor: str) -> int:
    """The exit code; that of settings where memory does not suffice."""
    spec = RunSpec.read(Path(run_json))
    turns = Turns(spec, Connection(int(descriptor)), host_memory())
    try:
        (ours if kind == "ours" else baseline.train)(spec, turns)
    except torch.OutOfMemoryError:
        return ConfigError.exit_code
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # threads of the libraries need not be waited for

"""A beat at every turn of training, so that a rank that stands still is noticed and named."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from libmoe.data.collator import BatchFacts
from libmoe.train.heartbeat import Heartbeat


class SignsOfLife(TrainerCallback):
    """Says where this rank is; the order of the calls is the Trainer's."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._step = 0

    def hear(self, _: BatchFacts) -> None:
        """A micro batch is about to be computed."""
        self._heartbeat.beat(f"computing step {self._step + 1}", self._step)

    def on_train_begin(self, _: TrainingArguments, state: TrainerState, *__: Any, **___: Any) -> None:
        """The first batch is asked for."""
        self._loading(state)

    def on_step_end(self, _: TrainingArguments, state: TrainerState, *__: Any, **___: Any) -> None:
        """The weights have changed."""
        self._step = state.global_step
        self._heartbeat.beat(f"finishing step {self._step}", self._step)

    def on_log(self, _: TrainingArguments, state: TrainerState, control: TrainerControl, **__: Any) -> None:
        """What comes next is a checkpoint or a batch."""
        if control.should_save:
            self._heartbeat.beat(f"saving step {state.global_step}", state.global_step)
        else:
            self._loading(state)

    def on_save(self, _: TrainingArguments, state: TrainerState, *__: Any, **___: Any) -> None:
        """The checkpoint is there."""
        self._loading(state)

    def _loading(self, state: TrainerState) -> None:
        self._step = state.global_step
        self._heartbeat.beat(f"loading the batch of step {self._step + 1}", self._step)

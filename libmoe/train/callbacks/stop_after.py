"""Ends a run that is only compared with another one's first steps."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState


class StopAfter(TrainerCallback):
    """After ``steps`` steps of a schedule that would go on."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_step_end(self, _: Any, state: TrainerState, control: TrainerControl, **__: Any) -> None:
        """Asks the trainer to end, without a checkpoint."""
        if state.global_step >= self._steps:
            control.should_training_stop = True

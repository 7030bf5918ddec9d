"""SIGTERM: finish the step, save, stop."""

import signal
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from libmoe.train.ranks import gather


class Interruption(TrainerCallback):
    """The signal reaches ranks at different moments, so they agree on the step to stop after."""

    def __init__(self) -> None:
        self.happened = False
        """Training was stopped before its end."""
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stops every rank if any was asked to."""
        asked = bool(gather([float(self._asked)], args.device).any())
        if asked and state.global_step < state.max_steps:
            self.happened = True
            control.should_save = True
            control.should_training_stop = True

    def _ask(self, *_: Any) -> None:
        self._asked = True

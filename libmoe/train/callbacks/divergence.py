"""Stops a run whose loss is no number any more."""

import math
from typing import Any

from transformers import TrainerCallback, TrainerState

from libmoe.config.errors import ConfigError
from libmoe.data.collator import BatchFacts


class DivergenceGuard(TrainerCallback):
    """Every rank raises, since every rank sees the same loss; each knows the rows that it computed itself."""

    def __init__(self) -> None:
        self._rows: list[str] = []

    def hear(self, facts: BatchFacts) -> None:
        """A micro batch is about to be computed."""
        self._rows += facts.rows

    def on_log(self, _: Any, state: TrainerState, *__: Any, logs: dict[str, Any], **___: Any) -> None:
        """Looks at the step's loss and forgets its rows.

        Raises:
            ConfigError: the loss is NaN or infinite.
        """
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ConfigError(
                f"The loss became {logs['loss']} at step {state.global_step}, on rows that include "
                f"{', '.join(self._rows[:8])}: lower train.learning_rate or look at these rows."
            )
        self._rows.clear()

"""Stops a run that learns nothing any more: its loss is not a number, has exploded, or stands still."""

import logging
import math
from collections import deque
from statistics import fmean
from typing import Any

from transformers import TrainerCallback, TrainerState

from libmoe.config.errors import ConfigError
from libmoe.config.schema import GuardConfig
from libmoe.data.collator import BatchFacts
from libmoe.train.ranks import gather_objects

_LOG = logging.getLogger(__name__)
_WINDOW = 10
_MOST_SKIPPED = 10
_NAMED = 32
_LEAST_START = 1.0
"""What is learned by heart jumps about: losses are compared with the first ones, but with this at least."""


class DivergenceGuard(TrainerCallback):
    """Every rank sees the same loss, so every rank raises; together they know the rows of the step."""

    def __init__(self, settings: GuardConfig) -> None:
        self._settings = settings
        self._rows: list[str] = []
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=_WINDOW)
        self._same = 1
        self._without_gradient = 0
        self._skipped = 0

    def hear(self, facts: BatchFacts) -> None:
        """A micro batch is about to be computed."""
        self._rows += facts.rows

    def on_log(self, _: Any, state: TrainerState, *__: Any, logs: dict[str, Any], **___: Any) -> None:
        """Looks at the step's loss and gradient and forgets its rows.

        Raises:
            ConfigError: the loss is NaN or infinite, has exploded, or it or a gradient of 0 has been the same
                for too long.
        """
        if "loss" in logs:
            if math.isfinite(logs["loss"]):
                self._look_at(logs["loss"], state.global_step)
                self._look_at_gradient(logs.get("grad_norm"), state.global_step)
            else:
                self._not_a_number(logs["loss"], state.global_step)
        self._rows.clear()

    def _not_a_number(self, loss: float, step: int) -> None:
        self._skipped += 1
        if self._settings.nan == "stop":
            raise self._stop(
                f"The loss became {loss} at step {step}",
                "lower train.learning_rate, look at these rows, or set train.guard.nan=skip",
            )
        if self._skipped > _MOST_SKIPPED:
            raise self._stop(
                f"The loss was not a number for {self._skipped} steps in a row, the last of them {step}",
                "lower train.learning_rate or look at these rows",
            )
        rows = self._rows_of_all_ranks()
        _LOG.warning("Step %d was skipped, as its loss was %s; its rows: %s", step, loss, ", ".join(rows))

    def _look_at(self, loss: float, step: int) -> None:
        self._skipped = 0
        self._same = self._same + 1 if self._last and self._last[-1] == loss else 1
        self._last.append(loss)
        if len(self._first) < _WINDOW:
            self._first.append(loss)
        if self._same == self._settings.frozen_steps:
            raise self._stop(
                f"The loss was exactly {loss:g} for {self._same} steps, the last of them {step}",
                "nothing is learned; see with `libmoe doctor` whether DeepSpeed and torch have the locked "
                "versions, and whether these rows have labels",
            )
        start, now = fmean(self._first), fmean(self._last)
        if self._settings.explosion and now > self._settings.explosion * max(start, _LEAST_START):
            raise self._stop(
                f"The loss exploded: its mean over {len(self._last)} steps was {start:.4g} at first and is "
                f"{now:.4g} at step {step}",
                "lower train.learning_rate, or raise train.guard.explosion if this is expected",
            )

    def _look_at_gradient(self, norm: float | None, step: int) -> None:
        self._without_gradient = self._without_gradient + 1 if norm == 0 else 0
        if self._without_gradient == self._settings.frozen_steps != 0:
            raise self._stop(
                f"The gradient was exactly 0 for {self._without_gradient} steps, the last of them {step}",
                "nothing is learned; lower train.learning_rate, which may have driven the weights to where "
                "no gradient is left, and see whether these rows have labels",
            )

    def _stop(self, what: str, advice: str) -> ConfigError:
        rows = self._rows_of_all_ranks()
        _LOG.error("%s; the rows of this step: %s", what, ", ".join(rows))
        more = f" and {len(rows) - _NAMED} more (all are in the log)" if len(rows) > _NAMED else ""
        return ConfigError(f"{what}, on the rows {', '.join(rows[:_NAMED])}{more}: {advice}.")

    def _rows_of_all_ranks(self) -> list[str]:
        """The rows of this step on all ranks; every rank has to ask."""
        return [row for rows in gather_objects(self._rows) for row in rows]

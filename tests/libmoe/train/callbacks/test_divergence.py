"""A loss that is no number ends the run."""

import pytest
from transformers import TrainerState

from libmoe.config.errors import ConfigError
from libmoe.data.collator import BatchFacts
from libmoe.train.callbacks.divergence import DivergenceGuard


def test_the_step_and_its_rows_are_named():
    guard, state = DivergenceGuard(), TrainerState(global_step=7)
    guard.hear(BatchFacts(("old",), 10, 1, ()))
    guard.on_log(None, state, None, logs={"loss": 1.5})
    guard.hear(BatchFacts(("a", "b"), 10, 1, ()))
    with pytest.raises(ConfigError, match=r"became nan at step 7, on rows that include a, b: lower train\."):
        guard.on_log(None, state, None, logs={"loss": float("nan")})


def test_other_logs_pass():
    DivergenceGuard().on_log(None, TrainerState(), None, logs={"train_runtime": 3.0})

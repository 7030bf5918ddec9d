"""A loss that says that training has gone wrong ends the run."""

import math

import pytest
from transformers import TrainerState

from libmoe.config.errors import ConfigError
from libmoe.config.schema import GuardConfig
from libmoe.data.collator import BatchFacts
from libmoe.train.callbacks.divergence import DivergenceGuard

pytestmark = pytest.mark.usefixtures("alone")


def see(losses, **settings):
    """The guard, after it has seen losses of which each step has a row of its own."""
    guard = DivergenceGuard(GuardConfig(**settings))
    for step, loss in enumerate(losses, start=1):
        guard.hear(BatchFacts((f"row-{step}",), 10, 1, ()))
        guard.on_log(None, TrainerState(global_step=step), None, logs={"loss": loss})
    return guard


def wave(count, around):
    return [around + math.sin(step) / 10 for step in range(count)]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_the_step_and_its_rows_are_named(loss):
    with pytest.raises(ConfigError, match=rf"became {loss} at step 3, on the rows row-3: lower train\."):
        see([1.5, 1.4, loss])


def test_a_skipped_step_is_named_and_ten_in_a_row_are_the_most(caplog):
    see([1.5, math.nan, 1.4, *[math.nan] * 10, 1.3], nan="skip")
    assert "Step 2 was skipped, as its loss was nan; its rows: row-2" in caplog.messages
    with pytest.raises(ConfigError, match="not a number for 11 steps in a row, the last of them 12"):
        see([1.5, *[math.nan] * 11], nan="skip")


@pytest.mark.parametrize("loss", [0.0, 6.9314])
def test_a_loss_that_stands_still(loss):
    with pytest.raises(ConfigError, match=rf"exactly {loss:g} for 10 steps, the last of them 14"):
        see([*wave(4, 2.0), *[loss] * 20])
    see([*wave(4, 2.0), *[loss] * 9, 1.0, *[loss] * 9])
    see([loss] * 100, frozen_steps=0)


def test_a_gradient_that_is_gone():
    """As after a learning rate that drove every unit to where its activation is flat."""

    def look(norms, **settings):
        guard = DivergenceGuard(GuardConfig(**settings))
        for step, norm in enumerate(norms, start=1):
            guard.hear(BatchFacts((f"row-{step}",), 10, 1, ()))
            logs = {"loss": 2.0 + step / 10, "grad_norm": norm}
            guard.on_log(None, TrainerState(global_step=step), None, logs=logs)

    with pytest.raises(
        ConfigError, match=r"gradient was exactly 0 for 10 steps, the last of them 13, on the rows"
    ):
        look([0.7, 0.6, 0.5, *[0.0] * 20])
    look([0.7, *[0.0] * 9, 1e-9, *[0.0] * 9])
    look([0.0] * 30, frozen_steps=0)


def test_an_explosion_is_a_mean_over_steps():
    see([*wave(30, 2.0), 40.0, *wave(9, 2.0)])  # one wild batch is none
    with pytest.raises(ConfigError, match=r"exploded: its mean over 10 steps was 2.* at first and is"):
        see([*wave(30, 2.0), *wave(30, 12.0)])
    see([*wave(30, 2.0), *wave(30, 12.0)], explosion=0)


def test_what_is_learned_by_heart_may_jump():
    see([*wave(10, 0.2), *wave(30, 0.9)])


def test_other_logs_pass():
    DivergenceGuard(GuardConfig()).on_log(None, TrainerState(), None, logs={"train_runtime": 3.0})

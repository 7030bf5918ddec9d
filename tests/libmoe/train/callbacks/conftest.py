"""Step records."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from libmoe.train.callbacks.record import StepRecord

RECORD = StepRecord(
    step=1,
    loss=0.1 + 0.2,
    lm_loss=0.1,
    balance_loss=None,
    z_loss=None,
    lr=1e-3,
    grad_norm=1.0,
    tokens=1200,
    images=8,
    seconds=0.5,
    tokens_per_s=2400.0,
    mfu=None,
    memory_bytes=3 * 2**30,
)


@pytest.fixture
def record() -> Callable[..., StepRecord]:
    """``record(step=3, loss=1.5)``."""
    return lambda **changes: replace(RECORD, **changes)

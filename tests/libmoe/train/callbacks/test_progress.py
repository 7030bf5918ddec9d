"""Lines for whoever watches."""

import pytest

from libmoe.train.callbacks import progress
from libmoe.train.callbacks.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_now_and_then_and_one_at_the_end(clock, record):
    lines = []
    shown = Progress("sft", lines.append)
    for step in range(1, 91):
        shown.write(record(step=step), 90)
        clock[0] += 1.0
    assert lines[0] == "stage sft  step 1/90  loss 0.3000  lr 1.00e-03  2,400 tokens/s  16 images/s  3.0 GiB"
    assert lines[1].startswith("stage sft  step 4/90")
    assert lines[1].endswith("ETA 1:26")
    assert lines[-1].startswith("stage sft  step 90/90")
    assert "ETA" not in lines[-1]
    assert len(lines) == 31


def test_router_losses_are_told_where_there_are_any(record):
    lines = []
    Progress("sft", lines.append).write(record(balance_loss=3.25, z_loss=1.0), 90)
    assert "loss 0.3000  lm 0.1000  balance 3.250  z 1  lr" in lines[0]


def test_the_mfu_is_told_where_it_is_known(record):
    lines = []
    Progress("sft", lines.append).write(record(mfu=0.3817), 90)
    assert "images/s  MFU 38.2%  3.0 GiB" in lines[0]


def test_hours(clock, record):
    lines = []
    shown = Progress("sft", lines.append)
    shown.write(record(step=1), 10_001)
    clock[0] += 10
    shown.write(record(step=2), 10_001)
    assert lines[1].endswith("ETA 27:46:30")

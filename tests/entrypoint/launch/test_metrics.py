"""Reading metrics.jsonl."""

import json
from pathlib import Path

import pytest

from entrypoint.launch.metrics import read_metrics
from libmoe.config.errors import DataError


def test_steps_without_those_that_were_skipped_and_damaged_lines(tmp_path: Path) -> None:
    steps = [{"step": 1, "loss": 2.5}, {"step": 2, "lr": 0.1}, {"step": 4, "loss": 2.25}]
    first, *others = (json.dumps(step) + "\n" for step in steps)
    damaged = b'{"step": 3, "lo\xff\n'
    (tmp_path / "metrics.jsonl").write_bytes(
        first.encode() + damaged + "".join(others).encode() + b'{"step": 5, "lo'
    )
    assert read_metrics(tmp_path) == [steps[0], steps[2]]


@pytest.mark.parametrize("content", [None, "", '{"step": 1, "lr": 0.1}\n'])
def test_a_run_without_a_step(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(DataError, match="holds no step"):
        read_metrics(tmp_path)

"""Reading ``metrics.jsonl``: a line an optimizer step."""

from pathlib import Path
from typing import Any

from libmoe.config.errors import DataError
from libmoe.config.json_lines import read_json_lines


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The steps of a run, in order, without those that were skipped and lines that are damaged.

    Raises:
        DataError: the run has no step.
    """
    path = run_dir / "metrics.jsonl"
    steps = [step for step in read_json_lines(path) if "loss" in step]
    if not steps:
        raise DataError(f"{path} holds no step: this run has not trained yet.")
    return steps

"""Reading ``metrics.jsonl``: a line an optimizer step."""

import json
from pathlib import Path
from typing import Any

from libmoe.config.errors import DataError


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The steps of a run, in order, without those that were skipped, and a last line cut short by a kill.

    Raises:
        DataError: the run has no step.
    """
    path = run_dir / "metrics.jsonl"
    steps = [step for step in read_lines(path) if "loss" in step]
    if not steps:
        raise DataError(f"{path} holds no step: this run has not trained yet.")
    return steps


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A file of JSON, an object a line, up to one that a kill cut short; nothing where there is no file."""
    lines = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines

"""Which rows of an index to train on: all but those that ``prepare`` has found to be unusable."""

import json
from pathlib import Path

import numpy as np


def known_unusable(index: Path, rows: int) -> list[int]:
    """Numbers of the rows that the audit of ``libmoe prepare`` says cannot be used; none where it is missing.

    Args:
        index: ``.libmoe/index/<annotations>.arrow``; the audit is ``.libmoe/audit/<annotations>.json``.
        rows: of the index. An audit of another number of rows is of an older index and says nothing.
    """
    path = index.parents[1] / "audit" / f"{index.stem}.json"
    try:
        audit = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return sorted(audit.get("unusable_rows", [])) if audit.get("rows") == rows else []


def usable(rows: int, left_out: list[int]) -> np.ndarray:
    """Numbers of all rows but those left out, rising."""
    return np.setdiff1d(np.arange(rows), np.asarray(left_out, dtype=np.int64), assume_unique=True)

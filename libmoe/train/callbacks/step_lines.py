"""A file of JSON lines, each of one step, that a resumed run continues exactly."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class StepLines:
    """Appends to the file of the run; what lies behind ``start`` (the step resumed from) is dropped."""

    def __init__(self, path: Path, start: int) -> None:
        kept = _lines_up_to(path, start)
        draft = path.with_suffix(".draft")
        draft.write_text("".join(kept))
        draft.replace(path)
        self._file = path.open("a", buffering=1)

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds a line, which has a ``step``; floats are written so that they read back exactly."""
        self._file.write(json.dumps(line, allow_nan=False) + "\n")

    def close(self) -> None:
        """No more lines follow."""
        self._file.close()


def _lines_up_to(path: Path, step: int) -> list[str]:
    """Without those that a kill cut short or that were damaged since."""
    if not path.exists():
        return []
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n") and _is_up_to(line, step)]


def _is_up_to(line: str, step: int) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except (ValueError, TypeError, KeyError):
        return False

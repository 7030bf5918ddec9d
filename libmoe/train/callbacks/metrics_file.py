"""``metrics.jsonl``: a line a step; floats are written so that they read back exactly."""

import json
from pathlib import Path

from libmoe.train.callbacks.record import StepRecord


class MetricsFile:
    """Appends to the file of the run; what lies behind ``start`` (the step resumed from) is dropped."""

    def __init__(self, path: Path, start: int) -> None:
        kept = _lines_up_to(path, start)
        draft = path.with_suffix(".draft")
        draft.write_text("".join(kept))
        draft.replace(path)
        self._file = path.open("a", buffering=1)

    def write(self, record: StepRecord, last_step: int) -> None:
        """See ``Sink``."""
        self._file.write(json.dumps(record.known(), allow_nan=False) + "\n")

    def close(self) -> None:
        """See ``Sink``."""
        self._file.close()


def _lines_up_to(path: Path, step: int) -> list[str]:
    if not path.exists():
        return []
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in whole if json.loads(line)["step"] <= step]

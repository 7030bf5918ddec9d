"""``metrics.jsonl``: a line a step."""

from pathlib import Path

from libmoe.train.callbacks.record import StepRecord
from libmoe.train.callbacks.step_lines import StepLines


class MetricsFile:
    """What is known of each step; ``start`` is the step resumed from."""

    def __init__(self, path: Path, start: int) -> None:
        self._lines = StepLines(path, start)

    def write(self, record: StepRecord, last_step: int) -> None:
        """See ``Sink``."""
        self._lines.write(record.known())

    def close(self) -> None:
        """See ``Sink``."""
        self._lines.close()

"""Names the rows that the run does not train on, and ends it when they are too many."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

from libmoe.config.errors import DataError
from libmoe.config.run import ROWS_NOT_TRAINED_ON as NAME
from libmoe.data.collator import BatchFacts
from libmoe.data.dataset import Skipped
from libmoe.train.ranks import gather_objects, is_first
from libmoe.train.skipped import SkipRecord, add_skipped, read_skipped, start_skipped
from libmoe.train.terminal import Say

_LOG = logging.getLogger(__name__)
_NAMED = 5
_SOME = 8
"""Unreadable rows that a rank puts up with in any case."""
_TOLERATED = 0.01
"""Share of what it has read that it puts up with beyond these."""


class SkippedReport(TrainerCallback):
    """Names them in the log at once, in ``skipped.jsonl`` at every save, and in a line at the end.

    Args:
        left_out: rows that are known to be unusable before the run starts.
        start: the step resumed from.
    """

    def __init__(self, run_dir: Path, left_out: Sequence[Skipped], start: int, say: Say) -> None:
        self._run_dir = run_dir
        self._left_out = left_out
        self._start = start
        self._say = say
        self._read = 0
        self._lost = 0
        self._pending: list[Skipped] = []
        self._records: list[SkipRecord] = []

    def hear(self, facts: BatchFacts) -> None:
        """A micro batch is about to be computed.

        Raises:
            DataError: too many rows cannot be read, so that something else must be wrong.
        """
        for skipped in facts.skipped:
            _LOG.warning("Row %r is skipped: %s", skipped.row_id, skipped.reason)
        self._pending += facts.skipped
        self._lost += len(facts.skipped)
        self._read += len(facts.skipped) + len(facts.rows)
        if self._lost > _SOME + _TOLERATED * self._read:
            raise DataError(
                f"{self._lost} of {self._read} rows could not be read, which is too many to skip; "
                f"the last of them: {self._pending[-1].reason}"
            )

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Writes and says what is known up front."""
        if not is_first():
            return
        known = _records(0, self._left_out)
        start_skipped(self._run_dir, known, self._start)
        if known:
            self._say(
                f"{len(known)} rows are left out, as `libmoe prepare` found them unusable ({NAME}): "
                f"{_names(record.row for record in known)}"
            )

    def on_step_end(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        """Now the step has its number."""
        self._records += _records(state.global_step, self._pending)
        self._pending.clear()

    def on_save(self, *_: Any, **__: Any) -> None:
        """Before a checkpoint counts, the file knows all that happened on the way to it."""
        everyone = sorted(record for rank in gather_objects(self._records) for record in rank)
        self._records.clear()
        if is_first() and everyone:
            add_skipped(self._run_dir, everyone)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """The rest of the file, and one line about the whole run."""
        self.on_save()
        if not is_first():
            return
        rows = sorted({record.row for record in read_skipped(self._run_dir) if record.step})
        if rows:
            self._say(f"{len(rows)} rows were skipped, as they cannot be read ({NAME}): {_names(rows)}")


def _records(step: int, rows: Iterable[Skipped]) -> list[SkipRecord]:
    return [SkipRecord(step, row.number, row.row_id, row.reason) for row in rows]


def _names(rows: Iterable[str]) -> str:
    listed = list(rows)
    return ", ".join(listed[:_NAMED]) + (", …" if len(listed) > _NAMED else "")

"""Counts the samples from which nothing can be learnt, and says so at the end."""

import logging
from typing import Any

from transformers import TrainerCallback

from libmoe.data.collator import BatchFacts
from libmoe.train.ranks import gather_objects
from libmoe.train.terminal import Say

_LOG = logging.getLogger(__name__)
_NAMED = 5


class UnlabelledReport(TrainerCallback):
    """All labels of such a sample are masked, mostly since it was cut before anyone answered."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._rows: set[str] = set()

    def hear(self, facts: BatchFacts) -> None:
        """A micro batch is about to be computed."""
        for row in {*facts.unlabelled} - self._rows:
            _LOG.warning("Nothing can be learnt from row %r: all of its labels are masked.", row)
            self._rows.add(row)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """One line over all ranks."""
        rows = sorted(set().union(*gather_objects(self._rows)))
        if rows:
            more = ", …" if len(rows) > _NAMED else ""
            self._say(
                f"{len(rows)} rows taught nothing, as all of their labels are masked "
                f"(cut before the answer?): {', '.join(rows[:_NAMED])}{more}"
            )

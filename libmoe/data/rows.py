"""The rows of an annotation index, read where they lie: a loader worker maps the file and copies one row."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from libmoe.config import row_sizes
from libmoe.config.annotations import CONVERSATIONS, FROM, ID, IMAGES, VALUE, open_index


@dataclass(frozen=True)
class Turn:
    """What one speaker (``human`` or ``gpt``) says."""

    speaker: str
    text: str


@dataclass(frozen=True)
class Row:
    """One annotation; ``images`` are paths relative to the volume's root."""

    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]


class Rows:
    """A sequence of rows over a memory-mapped index; pickles as its path alone, each process maps it anew."""

    def __init__(self, index: Path) -> None:
        self._index = index

    def __getstate__(self) -> dict[str, Any]:
        return {"_index": self._index}

    def __len__(self) -> int:
        return self._table.num_rows

    def __getitem__(self, number: int) -> Row:
        (row,) = self._table.slice(number, 1).to_pylist()
        turns = tuple(Turn(turn[FROM], turn[VALUE]) for turn in row[CONVERSATIONS])
        return Row(row[ID], tuple(row[IMAGES]), turns)

    def image_counts(self) -> np.ndarray:
        """Images of each row, without reading a row: (rows,) int64."""
        return row_sizes.image_counts(self._batches())

    def text_lengths(self) -> np.ndarray:
        """Bytes of text of each row, from the index's offsets alone: (rows,) int64."""
        return row_sizes.text_lengths(self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        return iter(self._table.to_batches())

    @cached_property
    def _table(self) -> pa.Table:
        return open_index(self._index)

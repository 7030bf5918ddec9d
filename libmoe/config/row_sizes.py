"""How large the rows of an annotation index are, from its offsets alone, without reading a row."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from libmoe.config.annotations import CONVERSATIONS, IMAGES, VALUE

if TYPE_CHECKING:
    import pyarrow as pa


def image_counts(batches: "Iterable[pa.RecordBatch]") -> np.ndarray:
    """Images of each row: (rows,) int64."""
    import pyarrow.compute as pc

    counts = [pc.list_value_length(batch.column(IMAGES)).to_numpy() for batch in batches]
    return np.concatenate([np.zeros(0, np.int64), *counts]).astype(np.int64)


def text_lengths(batches: "Iterable[pa.RecordBatch]") -> np.ndarray:
    """Bytes of text of each row: (rows,) int64."""
    lengths = [_text_lengths(batch.column(CONVERSATIONS)) for batch in batches]
    return np.concatenate([np.zeros(0, np.int64), *lengths])


def _text_lengths(conversations: "pa.ListArray") -> np.ndarray:
    import pyarrow.compute as pc

    values = pc.struct_field(conversations.flatten(), VALUE)
    bytes_of_turn = pc.fill_null(pc.binary_length(values), 0).to_numpy()
    before = np.concatenate([[0], np.cumsum(bytes_of_turn, dtype=np.int64)])
    offsets = conversations.offsets.to_numpy() - conversations.offsets[0].as_py()
    return before[offsets[1:]] - before[offsets[:-1]]

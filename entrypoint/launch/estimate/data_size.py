"""How much a stage's data is, before anything is trained on it."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from libmoe.config.annotations import CONVERSATIONS, FROM, VALUE, open_index
from libmoe.config.errors import DataError
from libmoe.config.row_sizes import image_counts, text_lengths
from libmoe.config.run import RunSpec
from libmoe.config.schema import TrainConfig
from libmoe.config.usable import known_unusable, usable

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLED_ROWS = 256
_TOKENS_OF_A_TURN = 4
"""What a chat template puts around what is said: who speaks, and that it ends."""
_USUAL_TOKENS_A_BYTE = 0.25
_IMAGE = "<image>"


@dataclass(frozen=True)
class DataSize:
    """The rows that a run trains on, an entry each; ``text_tokens`` are estimated."""

    text_tokens: np.ndarray
    images: np.ndarray
    left_out: int
    """Rows beside these that the audit says cannot be used."""
    max_length: int

    @property
    def rows(self) -> int:
        """How many are trained on."""
        return len(self.images)

    def steps(self, train: TrainConfig) -> int:
        """Optimizer steps of the run; the last one of an epoch is filled up."""
        return train.max_steps or ceil(self.rows / train.global_batch_size) * train.epochs

    def lengths(self, image_tokens: int) -> np.ndarray:
        """Tokens of each row, cut at ``max_length``."""
        whole = np.rint(self.text_tokens).astype(np.int64) + self.images * image_tokens
        return np.minimum(whole, self.max_length)

    def kept_images(self, image_tokens: int) -> np.ndarray:
        """Images of each row that lie before the cut."""
        return np.minimum(self.images, self.max_length // image_tokens)


def data_size(spec: RunSpec) -> DataSize:
    """The size from the index's offsets; some rows are tokenized to learn how many tokens a byte is."""
    table = open_index(spec.annotations.index)
    numbers = usable(table.num_rows, left_out := known_unusable(spec.annotations.index, table.num_rows))
    batches = table.to_batches()
    plain = spec.config.data.prompt_format == "plain"
    tokenizer = spec.models_dir / spec.config.model.tokenizer / "tokenizer.json"
    return DataSize(
        text_tokens=text_lengths(batches)[numbers] * _tokens_a_byte(table, tokenizer, plain),
        images=image_counts(batches)[numbers],
        left_out=len(left_out),
        max_length=spec.config.data.max_length,
    )


def _tokens_a_byte(table: "pa.Table", tokenizer_file: Path, plain: bool) -> float:
    """Tokens that are trained on for each byte of text in the index, over rows from all over it.

    Args:
        plain: of a row, only the caption is read, and its end.

    Raises:
        DataError: the tokenizer is damaged.
    """
    if not tokenizer_file.is_file() or not table.num_rows:
        return _USUAL_TOKENS_A_BYTE
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    except Exception as error:  # tokenizers raises nothing narrower
        raise DataError(
            f"The tokenizer {tokenizer_file} cannot be read ({error}): "
            "delete it and run `libmoe prepare` again."
        ) from error
    chosen = np.unique(np.linspace(0, table.num_rows - 1, _SAMPLED_ROWS).astype(np.int64))
    tokens = size = 0
    for turns in table.column(CONVERSATIONS).take(chosen).to_pylist():
        size += sum(len(turn[VALUE].encode()) for turn in turns)
        read = [turn for turn in turns if turn[FROM] == "gpt"][:1] if plain else turns
        texts = [turn[VALUE].replace(_IMAGE, "").strip() for turn in read]
        around = 1 if plain else _TOKENS_OF_A_TURN * len(texts)
        tokens += around + sum(
            len(coded.ids) for coded in tokenizer.encode_batch(texts, add_special_tokens=False)
        )
    return tokens / size if size else _USUAL_TOKENS_A_BYTE

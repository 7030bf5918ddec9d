"""A row to tokens and labels: what the assistant says, and that it stops, is learnt; all else is context."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from libmoe.config.errors import ConfigError, DataError
from libmoe.data.prompts import IMAGE, Prompt, PromptFormat
from libmoe.data.rows import Row

IGNORED = -100
"""A label that carries no loss."""


@dataclass(frozen=True)
class Tokens:
    """A row as the model reads it; ``labels`` are ``input_ids`` where there is loss, else ``IGNORED``."""

    input_ids: list[int]
    labels: list[int]
    images: int
    """How many of the row's images, from its first, have their tokens here."""


class ConversationEncoder:
    """Renders, tokenizes, marks the answers, makes room for the images, and cuts.

    Args:
        image_tokens: placeholder tokens of one image.
        max_length: tokens of the longest sample, image tokens included.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt_format: PromptFormat,
        image_tokens: int,
        max_length: int,
    ) -> None:
        if not tokenizer.is_fast:
            raise ConfigError(
                f"The tokenizer {tokenizer.name_or_path} has no tokenizer.json, which says where each token "
                "lies in the text: convert it with transformers and save it again."
            )
        self._tokenizer = tokenizer
        self._format = prompt_format
        self._image_tokens = image_tokens
        self._image_id: int = tokenizer.convert_tokens_to_ids(IMAGE)
        self._special = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
        self._max_length = max_length

    def encode(self, row: Row) -> Tokens:
        """Tokens and labels of a row.

        Raises:
            DataError: the row cannot be rendered, or nothing of it fits; names it.
        """
        prompt = self._format.render(row)
        coded = self._tokenizer(prompt.text, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = coded.input_ids
        learnt = self._learnt(prompt, ids, coded.offset_mapping)
        spread: list[int] = []
        labels: list[int] = []
        for token, learn in zip(ids, learnt, strict=True):
            count = self._image_tokens if token == self._image_id else 1
            spread.extend([token] * count)
            labels.extend([token if learn else IGNORED] * count)
        return self._cut(row, spread, labels)

    def _learnt(self, prompt: Prompt, ids: list[int], offsets: list[tuple[int, int]]) -> list[bool]:
        """Whether each token is part of an answer or the end of one."""
        learnt = [False] * len(ids)
        for start, end in prompt.answers:
            first = next((n for n, (a, b) in enumerate(offsets) if b > max(start, a)), len(ids))
            after = next((n for n in range(first, len(ids)) if offsets[n][0] >= end), len(ids))
            stop = self._end_of_turn(prompt.text, ids, offsets, after)
            learnt[first:stop] = [True] * (stop - first)
        return learnt

    def _end_of_turn(self, text: str, ids: list[int], offsets: list[Any], after: int) -> int:
        """One past the special token that ends the answer before ``after``; ``after`` where none does."""
        for number in range(after, len(ids)):
            if ids[number] in self._special:
                return number + 1
            if text[slice(*offsets[number])].strip():
                break
        return after

    def _cut(self, row: Row, ids: list[int], labels: list[int]) -> Tokens:
        """Cuts at the limit, or before the image that lies across it; images behind the cut are left out."""
        end = min(len(ids), self._max_length)
        images, part = divmod(ids[:end].count(self._image_id), self._image_tokens)
        end -= part
        if not end:
            raise DataError(
                f"The first image of row {row.id!r} does not fit into {self._max_length} tokens "
                f"({self._image_tokens} an image): raise data.max_length or leave the row out."
            )
        return Tokens(ids[:end], labels[:end], images)

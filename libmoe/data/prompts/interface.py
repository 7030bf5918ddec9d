"""What a prompt format makes of a row: the text that the model sees, and the parts that it must learn."""

from dataclasses import dataclass
from typing import Protocol

from libmoe.data.rows import Row

IMAGE = "<image>"
"""Where an image goes, in LLaVA's JSON."""


@dataclass(frozen=True)
class Prompt:
    """A rendered row.

    ``text`` holds one ``<image>`` an image, in the row's order. ``answers`` are the character ranges
    ``[start, end)`` of what the assistant says, stripped, without the end-of-turn token that follows.
    """

    text: str
    answers: tuple[tuple[int, int], ...]


class PromptFormat(Protocol):
    """One way to render a row."""

    def render(self, row: Row) -> Prompt:
        """The row as text.

        Raises:
            DataError: the row has nothing to render; names it.
            ConfigError: the tokenizer's chat template cannot be used for training.
        """
        ...

"""Stage 1's format: the images, the caption, the end; what was asked is left out (arXiv:2304.08485)."""

from transformers import PreTrainedTokenizerBase

from libmoe.config.errors import DataError
from libmoe.data.prompts.interface import IMAGE, Prompt
from libmoe.data.rows import Row


class PlainFormat:
    """The caption is the first thing the assistant says."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._start = tokenizer.bos_token if tokenizer.bos_token_id in tokenizer("").input_ids else ""
        self._end = tokenizer.eos_token

    def render(self, row: Row) -> Prompt:
        """See ``PromptFormat.render``."""
        said = (turn.text.replace(IMAGE, "").strip() for turn in row.turns if turn.speaker == "gpt")
        caption = next(said, None)
        if caption is None:
            raise DataError(f"Row {row.id!r} has no caption: nobody answers in its conversation.")
        before = self._start + IMAGE * len(row.images)
        return Prompt(before + caption + self._end, ((len(before), len(before) + len(caption)),))

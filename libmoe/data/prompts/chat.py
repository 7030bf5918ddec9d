"""Stages 2 and 3: the language model's own chat template.

Where the assistant speaks is found by rendering ever longer beginnings of the conversation, so that any
template will do: most of them, Phi-3.5's among them, do not mark what the assistant generates.
"""

from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from libmoe.config.errors import ConfigError, DataError
from libmoe.data.prompts.interface import IMAGE, Prompt
from libmoe.data.rows import Row

_ROLES = {"human": "user", "gpt": "assistant"}


class ChatFormat:
    """Every turn of the row, from the first that a human speaks."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.chat_template:
            raise ConfigError(
                f"The tokenizer {tokenizer.name_or_path} has no chat template: use an instruction-tuned one, "
                "or set data.prompt_format=plain."
            )
        self._tokenizer = tokenizer

    def render(self, row: Row) -> Prompt:
        """See ``PromptFormat.render``."""
        messages = _messages(row)
        try:
            text = self._render(messages, ask=False)
            answers = [
                self._answer(text, messages, number)
                for number, message in enumerate(messages)
                if message["role"] == "assistant"
            ]
        except TemplateError as error:
            raise DataError(f"Row {row.id!r} does not fit the chat template: {error}.") from error
        return Prompt(text, tuple(answers))

    def _answer(self, text: str, messages: list[dict[str, str]], number: int) -> tuple[int, int]:
        """Where message ``number`` lies in ``text``."""
        asked = self._render(messages[:number], ask=True)
        answer = messages[number]["content"]
        start = text.find(answer, len(asked))
        if start < 0 or not text.startswith(asked):
            raise ConfigError(
                f"The chat template of {self._tokenizer.name_or_path} renders the beginning of a "
                "conversation differently once it goes on, so what the assistant says cannot be told apart: "
                "use another template."
            )
        return start, start + len(answer)

    def _render(self, messages: list[dict[str, str]], *, ask: bool) -> str:
        rendered: Any = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=ask
        )
        return rendered


def _messages(row: Row) -> list[dict[str, str]]:
    """The turns as a chat template wants them, each image at the front of its turn.

    A leading answer is dropped. Humans place the images: an ``<image>`` too many is left out, and images
    that nobody asks about go to the front of the first turn.
    """
    turns = list(row.turns)
    while turns and turns[0].speaker != "human":
        turns.pop(0)
    if not turns:
        raise DataError(f"Row {row.id!r} has nothing to train on: no human speaks in its conversation.")
    unknown = next((turn.speaker for turn in turns if turn.speaker not in _ROLES), None)
    if unknown is not None:
        raise DataError(f"In row {row.id!r} speaks {unknown!r}, who is neither human nor gpt.")
    wanted = [turn.text.count(IMAGE) if turn.speaker == "human" else 0 for turn in turns]
    left = len(row.images)
    placed = []
    for count in wanted:
        placed.append(min(count, left))
        left -= placed[-1]
    placed[0] += left
    return [
        {
            "role": _ROLES[turn.speaker],
            "content": f"{IMAGE}\n" * images + turn.text.replace(IMAGE, "").strip(),
        }
        for turn, images in zip(turns, placed, strict=True)
    ]

"""How a row becomes text: one file a format."""

from transformers import PreTrainedTokenizerBase

from libmoe.data.prompts.chat import ChatFormat
from libmoe.data.prompts.interface import IMAGE, Prompt, PromptFormat
from libmoe.data.prompts.plain import PlainFormat

__all__ = ["IMAGE", "ChatFormat", "PlainFormat", "Prompt", "PromptFormat", "prompt_format"]

_FORMATS: dict[str, type[PlainFormat] | type[ChatFormat]] = {"plain": PlainFormat, "chat": ChatFormat}


def prompt_format(name: str, tokenizer: PreTrainedTokenizerBase) -> PromptFormat:
    """The format of that name (``DataConfig.prompt_format``) for this tokenizer."""
    return _FORMATS[name](tokenizer)

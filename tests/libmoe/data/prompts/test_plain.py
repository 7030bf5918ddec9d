"""Image, caption, end."""

import pytest

from libmoe.config.errors import DataError
from libmoe.data.prompts import PlainFormat


def test_only_the_caption_is_answer(tokenizer, row):
    prompt = PlainFormat(tokenizer).render(
        row("human", "Describe.\n<image>", "gpt", " A cat. ", images=["a.jpg"])
    )
    ((start, end),) = prompt.answers
    assert prompt.text[start:end] == "A cat."
    assert prompt.text == prompt.text[:start] + "A cat." + tokenizer.eos_token
    assert prompt.text[:start].endswith("<image>")
    assert "Describe" not in prompt.text


def test_a_tokenizer_that_starts_texts_keeps_doing_so(spm, bpe, row):
    caption = row("gpt", "A cat.", images=["a.jpg"])
    assert spm("").input_ids == [spm.bos_token_id]
    assert PlainFormat(spm).render(caption).text.startswith("<s><image>")
    assert PlainFormat(bpe).render(caption).text.startswith("<image>")


def test_a_row_without_caption_is_named(bpe, row):
    with pytest.raises(DataError, match="'r9' has no caption"):
        PlainFormat(bpe).render(row("human", "<image>", images=["a.jpg"], id="r9"))

"""The language model's template, and where the assistant speaks in it."""

import pytest
from transformers import AutoTokenizer

from libmoe.config.errors import ConfigError, DataError
from libmoe.data.prompts import ChatFormat

LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)


def answers(prompt):
    return [prompt.text[start:end] for start, end in prompt.answers]


def test_every_answer_is_found_once(tokenizer, row):
    chat = row("human", "A?", "gpt", "yes", "human", "yes", "gpt", "yes", "human", "B?", "gpt", "A?")
    prompt = ChatFormat(tokenizer).render(chat)
    assert answers(prompt) == ["yes", "yes", "A?"]
    for start, end in prompt.answers:
        assert prompt.text[:start].endswith("<|assistant|>\n")
        assert prompt.text[end:].startswith("<|end|>")


def test_a_template_of_another_shape(tokenizer_folder, row):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = LLAMA2
    prompt = ChatFormat(tokenizer).render(row("human", "A?", "gpt", "yes", "human", "B?", "gpt", "no"))
    assert answers(prompt) == ["yes", "no"]


@pytest.mark.parametrize("said", ["<image>\nWhat?", "What?\n<image>", "Wh<image>at?"])
def test_the_image_moves_to_the_front_of_its_turn(tokenizer, row, said):
    prompt = ChatFormat(tokenizer).render(row("human", said, "gpt", "A cat.", images=["a.jpg"]))
    assert prompt.text.startswith("<|user|>\n<image>\nWhat?<|end|>")


def test_images_stay_with_their_turns(bpe, row):
    chat = row(
        *("human", "<image> and <image>", "gpt", "two", "human", "this: <image>", "gpt", "third"),
        images=["a.jpg", "b.jpg", "c.jpg"],
    )
    text = ChatFormat(bpe).render(chat).text
    assert "<|user|>\n<image>\n<image>\nand<|end|>" in text
    assert "<|user|>\n<image>\nthis:<|end|>" in text


@pytest.mark.parametrize(
    ("images", "said"), [([], "<image>\nHi"), (["a", "b"], "<image>\nHi"), (["a"], "Hi")]
)
def test_as_many_places_as_images(bpe, row, images, said):
    prompt = ChatFormat(bpe).render(row("human", said, "gpt", "an <image> of mine", images=images))
    assert prompt.text.count("<image>") == len(images)
    assert prompt.text.startswith("<|user|>\n" + "<image>\n" * len(images) + "Hi<|end|>")


def test_a_leading_answer_is_dropped(tokenizer, row):
    prompt = ChatFormat(tokenizer).render(row("gpt", "Hello!", "human", "A?", "gpt", "yes"))
    assert answers(prompt) == ["yes"]
    assert "Hello" not in prompt.text


def test_nobody_asks(bpe, row):
    with pytest.raises(DataError, match="'r1' has nothing to train on"):
        ChatFormat(bpe).render(row("gpt", "Hello!"))


def test_somebody_else_speaks(bpe, row):
    with pytest.raises(DataError, match="In row 'r1' speaks 'tool'"):
        ChatFormat(bpe).render(row("human", "A?", "tool", "42", "gpt", "42."))


def test_a_tokenizer_without_template(tokenizer_folder):
    (tokenizer_folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template"):
        ChatFormat(AutoTokenizer.from_pretrained(tokenizer_folder))


def test_a_template_that_refuses_a_row(tokenizer_folder, row):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match="'r1' does not fit the chat template: roles must alternate"):
        ChatFormat(tokenizer).render(row("human", "A?", "human", "B?"))


def test_a_template_that_rewrites_the_past(tokenizer_folder, row):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(ConfigError, match="cannot be told apart"):
        ChatFormat(tokenizer).render(row("human", "A?", "gpt", "yes"))

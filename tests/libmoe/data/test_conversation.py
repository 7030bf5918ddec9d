"""Labels, token by token."""

import pytest

from libmoe.config.errors import ConfigError, DataError
from libmoe.data.conversation import IGNORED, ConversationEncoder
from libmoe.data.prompts import prompt_format


def encoder(tokenizer, form="chat", image_tokens=4, max_length=256):
    return ConversationEncoder(tokenizer, prompt_format(form, tokenizer), image_tokens, max_length)


def runs(tokenizer, tokens):
    """The text of each unbroken run of learnt tokens."""
    found, open_run = [], []
    for token, label in zip([*tokens.input_ids, 0], [*tokens.labels, IGNORED], strict=True):
        assert label in (IGNORED, token)
        if label != IGNORED:
            open_run.append(label)
        elif open_run:
            found.append(tokenizer.decode(open_run).strip())
            open_run = []
    return found


@pytest.mark.parametrize(
    "answer", ["A cat.", "x", "Zwei  Zeilen\n\nund ein 🙂", "naïve – «oui»", "1. a\n2. b"]
)
def test_the_answer_and_its_end_are_learnt(tokenizer, row, answer):
    tokens = encoder(tokenizer).encode(
        row("human", "<image>\nWhat?", "gpt", answer, "human", answer, "gpt", "no", images=["a"])
    )
    assert runs(tokenizer, tokens) == [answer + "<|end|>", "no<|end|>"]


def test_every_single_token(bpe, row):
    tokens = encoder(bpe, image_tokens=2).encode(row("human", "<image>\nHi", "gpt", "Yo", images=["a"]))
    image, end = bpe.convert_tokens_to_ids("<image>"), bpe.convert_tokens_to_ids("<|end|>")
    newline, hi, yo = (bpe(text).input_ids for text in ("\n", "Hi", "Yo"))
    user, assistant = bpe("<|user|>").input_ids, bpe("<|assistant|>").input_ids
    before = [*user, *newline, image, image, *newline, *hi, end, *newline, *assistant, *newline]
    assert tokens.input_ids == [*before, *yo, end, *newline]
    assert tokens.labels == [IGNORED] * len(before) + [*yo, end] + [IGNORED] * len(newline)


def test_plain_learns_the_caption_and_the_end(tokenizer, row):
    tokens = encoder(tokenizer, "plain").encode(row("human", "<image>", "gpt", "A cat.", images=["a"]))
    assert runs(tokenizer, tokens) == ["A cat." + tokenizer.eos_token]
    image = tokenizer.convert_tokens_to_ids("<image>")
    assert tokens.input_ids.count(image) == 4
    assert tokens.labels[-1] == tokenizer.eos_token_id


def test_a_row_of_text_alone(tokenizer, row):
    tokens = encoder(tokenizer).encode(row("human", "Hi", "gpt", "Hello."))
    assert runs(tokenizer, tokens) == ["Hello.<|end|>"]
    assert tokenizer.convert_tokens_to_ids("<image>") not in tokens.input_ids


def test_an_empty_answer_teaches_to_stop(tokenizer, row):
    tokens = encoder(tokenizer).encode(row("human", "Hi", "gpt", "  ", "human", "Hi", "gpt", "x"))
    assert runs(tokenizer, tokens) == ["<|end|>", "x<|end|>"]


def test_cut_at_the_limit(bpe, row):
    chat = row("human", "<image>\nHi", "gpt", "a cat on a mat " * 20, images=["a"])
    whole = encoder(bpe).encode(chat)
    cut = encoder(bpe, max_length=20).encode(chat)
    assert len(whole.input_ids) > 20
    assert (cut.input_ids, cut.labels) == (whole.input_ids[:20], whole.labels[:20])


def two_images(row):
    return row("human", "<image>\nHi", "gpt", "a cat", "human", "<image>", "gpt", "x", images=["a", "b"])


@pytest.mark.parametrize("limit", range(1, 40))
def test_a_cut_never_goes_through_an_image(bpe, row, limit):
    whole, cut = encoder(bpe).encode(two_images(row)), encoder(bpe, max_length=limit).encode(two_images(row))
    image = bpe.convert_tokens_to_ids("<image>")
    length = len(cut.input_ids)
    assert (cut.input_ids, cut.labels) == (whole.input_ids[:length], whole.labels[:length])
    assert cut.images == cut.input_ids.count(image) / 4
    lost = min(limit, len(whole.input_ids)) - length
    assert 0 <= lost < 4
    assert not lost or whole.input_ids[length : length + 4] == [image] * 4


def test_images_that_follow_each_other_are_cut_apart(bpe, row):
    caption = row("gpt", "A cat.", images=["a", "b", "c"])
    cut = encoder(bpe, "plain", max_length=10).encode(caption)
    assert (cut.images, len(cut.input_ids)) == (2, 8)
    assert set(cut.labels) == {IGNORED}


def test_an_image_that_never_fits_is_named(bpe, row):
    with pytest.raises(DataError, match=r"first image of row 'r1' does not fit into 3 tokens .*max_length"):
        encoder(bpe, "plain", max_length=3).encode(row("gpt", "A cat.", images=["a"]))


def test_a_tokenizer_without_offsets(bpe):
    class Slow:
        is_fast = False
        name_or_path = "org/slow"
        chat_template = "x"

    with pytest.raises(ConfigError, match=r"org/slow has no tokenizer\.json"):
        encoder(Slow())

import pytest

from entrypoint.sample import CAPTION_PROMPT, PHOTOS
from entrypoint.sample.album import ALBUM
from entrypoint.sample.train_tokenizer import SPECIAL_TOKENS, TOKENIZER_JSON, VOCAB_SIZE, train

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "<image>\nWhich animal is this?"},
    {"role": "assistant", "content": "It is a cat."},
    {"role": "user", "content": "What color are its eyes?"},
    {"role": "assistant", "content": "Green.\nBoth of them."},
]


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TOKENIZER_JSON.parent, local_files_only=True)


def test_training_again_gives_the_same_bytes():
    assert train() == TOKENIZER_JSON.read_text(encoding="utf-8"), (
        "run `python -m entrypoint.sample.train_tokenizer` and `python -m entrypoint.sample.build --catalog`"
    )


@pytest.mark.parametrize("text", [*ALBUM.sentences(), "Åse's 3 cats\n\tate  42% of 寿司 🍣 !"])
def test_texts_come_back_exactly(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_special_tokens_have_the_first_ids_and_phi_3s_roles(tokenizer):
    assert tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS) == list(range(len(SPECIAL_TOKENS)))
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "<|endoftext|>")
    assert tokenizer.pad_token == "<|endoftext|>"
    assert len(tokenizer) <= VOCAB_SIZE


def test_special_tokens_are_never_split_and_are_skipped_in_answers(tokenizer):
    assert tokenizer("a<image>b<|end|>", add_special_tokens=True)["input_ids"][1::2] == [
        SPECIAL_TOKENS.index("<image>"),
        SPECIAL_TOKENS.index("<|end|>"),
    ]
    answer = tokenizer("A cat.<|end|><|endoftext|>")["input_ids"]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "A cat."


def test_chat_is_written_as_phi_3_5_writes_it(tokenizer):
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == (
        "<|system|>\nBe brief.<|end|>\n"
        "<|user|>\n<image>\nWhich animal is this?<|end|>\n"
        "<|assistant|>\nIt is a cat.<|end|>\n"
        "<|user|>\nWhat color are its eyes?<|end|>\n"
        "<|assistant|>\nGreen.\nBoth of them.<|end|>\n"
    )


def test_assistant_mask_covers_the_answers_and_their_end_alone(tokenizer):
    encoded = tokenizer.apply_chat_template(CHAT, return_assistant_tokens_mask=True, return_dict=True)
    said = [i for i, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(said) == "It is a cat.<|end|>Green.\nBoth of them.<|end|>"


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.slug)
def test_the_prompt_is_tokenized_alike_with_and_without_its_answer(tokenizer, photo):
    asked = [{"role": "user", "content": f"<image>\n{CAPTION_PROMPT}"}]
    answered = [*asked, {"role": "assistant", "content": photo.caption}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = tokenizer.apply_chat_template(answered, return_dict=True)["input_ids"]
    assert whole[: len(prompt)] == prompt

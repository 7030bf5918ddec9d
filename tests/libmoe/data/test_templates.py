"""Which tokens are learnt, one by one: every template with every kind of tokenizer."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AddedToken, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from entrypoint.sample.album import ALBUM
from libmoe.data.conversation import IGNORED, ConversationEncoder
from libmoe.data.prompts import ChatFormat, PlainFormat
from libmoe.data.rows import Row, Turn

PHI = (
    "{% for m in messages %}{% if m['role'] == 'system' and m['content'] %}{{'<|system|>\n' + m['content'] + "
    "'<|end|>\n'}}{% elif m['role'] == 'user' %}{{'<|user|>\n' + m['content'] + '<|end|>\n'}}"
    "{% elif m['role'] == 'assistant' %}{{'<|assistant|>\n' + m['content'] + '<|end|>\n'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
CHATML = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MARKS = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|im_start|>", "<|im_end|>", "<image>"]
MARKS += ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
N_IMAGE = 3


@dataclass(frozen=True)
class Piece:
    """Rendered text; learnt or not."""

    text: str
    learnt: bool = False


def phi(turns: list[tuple[str, str]]) -> list[Piece]:
    pieces = []
    for who, said in turns:
        if who == "gpt":
            pieces += [Piece("<|assistant|>\n"), Piece(said + "<|end|>", True), Piece("\n")]
        else:
            pieces.append(Piece(f"<|user|>\n{said}<|end|>\n"))
    return [*pieces, Piece("</s>")]


def chatml(turns: list[tuple[str, str]]) -> list[Piece]:
    pieces = [Piece("<|im_start|>system\nYou are helpful.<|im_end|>\n")]
    for who, said in turns:
        if who == "gpt":
            pieces += [Piece("<|im_start|>assistant\n"), Piece(said + "<|im_end|>", True), Piece("\n")]
        else:
            pieces.append(Piece(f"<|im_start|>user\n{said}<|im_end|>\n"))
    return pieces


def llama3(turns: list[tuple[str, str]]) -> list[Piece]:
    pieces = [Piece("<s>")]
    for who, said in turns:
        role = "assistant" if who == "gpt" else "user"
        head = f"<|start_header_id|>{role}<|end_header_id|>\n\n"
        pieces += [Piece(head), Piece(said + "<|eot_id|>", who == "gpt")]
    return pieces


def plain(turns: list[tuple[str, str]], images: int, begins: bool) -> list[Piece]:
    """All images and the first answer."""
    answer = next(said for who, said in turns if who == "gpt")
    return [Piece("<s>" * begins + "<image>" * images), Piece(answer + "</s>", True)]


RENDER: dict[str, tuple[str, Callable[[list[tuple[str, str]]], list[Piece]]]] = {
    "phi3.5": (PHI, phi),
    "chatml": (CHATML, chatml),
    "llama3": (LLAMA3, llama3),
}

SAID = {
    "one turn": [("human", "<image>\nWhat is this?"), ("gpt", "A cat on a mat.")],
    "many turns": [
        *[("human", "Who?"), ("gpt", "A cat."), ("human", "A cat."), ("gpt", "No: A cat."), ("human", "!")],
        *[("gpt", "x"), ("human", "the last word")],
    ],
    "images": [
        ("human", "<image>\n<image>\nCompare."),
        *[("gpt", "Both are red."), ("human", "<image>\nAnd this?"), ("gpt", "Blue.")],
    ],
    "signs": [("human", "naïve – «oui» 🙂?"), ("gpt", "Zwei  Zeilen\n\nund ein 🙂, 猫, z̈ und\tTab")],
    "spaces": [("human", "1"), ("gpt", "1. a\n2. b\n   c"), ("human", "2"), ("gpt", "-")],
    "nothing": [("human", "Say nothing."), ("gpt", ""), ("human", "Well?"), ("gpt", "Well.")],
    "two questions": [("human", "A?"), ("human", "B?"), ("gpt", "Both."), ("gpt", "Again.")],
}


TEXT = [*ALBUM.sentences(), *(text for said in SAID.values() for _, text in said)]


def byte_level() -> PreTrainedTokenizerFast:
    """BPE over bytes, as GPT-2's and Llama 3's; texts begin without a mark."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    made.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


def unigram() -> PreTrainedTokenizerFast:
    """Unigram with spaces as part of words, as T5's; it puts a space before a text, and a mark."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(
        TEXT,
        trainers.UnigramTrainer(
            vocab_size=500, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
        ),
    )
    made.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(scope="module")
def kinds(spm: PreTrainedTokenizerBase) -> dict[str, PreTrainedTokenizerBase]:
    """Each with all marks that templates use; some of SentencePiece's swallow white space after them."""
    made = {"bytes": byte_level(), "unigram": unigram(), "sentencepiece": copy.deepcopy(spm)}
    for tokenizer in made.values():
        new = [AddedToken(mark, special=True) for mark in MARKS if mark not in tokenizer.get_vocab()]
        tokenizer.add_tokens(new, special_tokens=True)
    return made


def expectation(tokenizer: PreTrainedTokenizerBase, pieces: list[Piece]) -> list[tuple[int, int]]:
    """Each token with its label, from where the token lies in the whole text."""
    text = "".join(piece.text for piece in pieces)
    learnt = [piece.learnt for piece in pieces for _ in piece.text]
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    image = tokenizer.convert_tokens_to_ids("<image>")
    pairs = []
    for token, (start, end) in zip(coded.input_ids, coded.offset_mapping, strict=True):
        label = token if any(learnt[start:end]) else IGNORED
        pairs += [(token, label)] * (N_IMAGE if token == image else 1)
    return pairs


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
@pytest.mark.parametrize("form", [*RENDER, "plain"])
@pytest.mark.parametrize("kind", ["bytes", "unigram", "sentencepiece"])
def test_every_token(
    kinds: dict[str, PreTrainedTokenizerBase], kind: str, form: str, said: list[tuple[str, str]]
) -> None:
    tokenizer = kinds[kind]
    images = tuple("x" for _, text in said for _ in range(text.count("<image>")))
    row = Row("r", images, tuple(Turn(*turn) for turn in said))
    if form == "plain":
        prompt, pieces = PlainFormat(tokenizer), plain(said, len(images), begins=kind != "bytes")
    else:
        tokenizer.chat_template, render = RENDER[form]
        prompt, pieces = ChatFormat(tokenizer), render(said)
    tokens = ConversationEncoder(tokenizer, prompt, N_IMAGE, 4096).encode(row)
    assert list(zip(tokens.input_ids, tokens.labels, strict=True)) == expectation(tokenizer, pieces)
    assert tokens.images == len(images)

"""Tokenizers of both families and small indexes, made in place."""

import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sentencepiece
from transformers import AddedToken, AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerBase

import entrypoint.sample
from entrypoint.sample.album import ALBUM
from libmoe.config.annotations import CONVERSATIONS, FROM, ID, IMAGES, VALUE, index_schema
from libmoe.data.rows import Row, Rows, Turn

SAMPLE_TOKENIZER = Path(entrypoint.sample.__file__).parent / "tokenizer"
# As Phi-3.5's renders: no mark of what is generated, an end-of-text that only a finished chat has.
UNMARKED_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)


@pytest.fixture(scope="session")
def bpe() -> PreTrainedTokenizerBase:
    """Byte-level BPE: the tiny preset's own."""
    return AutoTokenizer.from_pretrained(SAMPLE_TOKENIZER)


@pytest.fixture(scope="session")
def spm(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """SentencePiece with byte fallback; special tokens swallow white space after them, as in Phi-3.5."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ALBUM.sentences()),
        model_writer=model,
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    folder = tmp_path_factory.mktemp("spm")
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    tokenizer = LlamaTokenizer.from_pretrained(folder, add_bos_token=True)
    turns = [AddedToken(f"<|{name}|>", rstrip=True, special=True) for name in ("user", "assistant", "end")]
    tokenizer.add_tokens([*turns, AddedToken("<image>", special=True)], special_tokens=True)
    tokenizer.chat_template = UNMARKED_TEMPLATE
    return tokenizer


@pytest.fixture(params=["bpe", "spm"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    """Each of the two."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def row() -> Callable[..., Row]:
    """``row("human", "says", "gpt", "answers", images=("a.jpg",))``."""

    def make(*said: str, images: Sequence[str] = (), id: str = "r1") -> Row:
        return Row(id, tuple(images), tuple(Turn(*pair) for pair in zip(said[::2], said[1::2], strict=True)))

    return make


@pytest.fixture
def write_index(tmp_path: Path) -> Callable[..., Rows]:
    """Rows to an index file, in record batches of two."""

    def write(rows: Sequence[Row]) -> Rows:
        path = tmp_path / "index.arrow"
        content: list[dict[str, Any]] = [
            {
                ID: row.id,
                IMAGES: list(row.images),
                CONVERSATIONS: [{FROM: turn.speaker, VALUE: turn.text} for turn in row.turns],
            }
            for row in rows
        ]
        schema = index_schema()
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(pa.Table.from_pylist(content, schema=schema), max_chunksize=2)
        return Rows(path)

    return write


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    """A copy of the sample's tokenizer that may be changed."""
    return Path(shutil.copytree(SAMPLE_TOKENIZER, tmp_path / "tokenizer"))

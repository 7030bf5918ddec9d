"""Indexes to plan on, as `prepare` leaves them."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from libmoe.config.annotations import (
    CONVERSATIONS,
    FROM,
    ID,
    IMAGES,
    META_ROWS,
    META_SHA256,
    VALUE,
    index_schema,
)

WriteIndex = Callable[..., Path]


@pytest.fixture
def write_index(tmp_path: Path) -> WriteIndex:
    """``write_index([(images, words), ...])``: a question and an answer of so many words a row."""

    def write(rows: list[tuple[int, int]]) -> Path:
        content = [
            {
                ID: str(number),
                IMAGES: [f"{number}-{one}.jpg" for one in range(images)],
                CONVERSATIONS: [{FROM: "human", VALUE: "why?"}, {FROM: "gpt", VALUE: "word " * words}],
            }
            for number, (images, words) in enumerate(rows)
        ]
        path = tmp_path / "volume/.libmoe/index/a.arrow"
        path.parent.mkdir(parents=True, exist_ok=True)
        schema = index_schema({META_ROWS: str(len(rows)).encode(), META_SHA256: b"0" * 64})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(pa.Table.from_pylist(content, schema=schema))
        return path

    return write

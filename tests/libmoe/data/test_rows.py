"""Rows over a memory-mapped index."""

import pickle

import pytest

from libmoe.config.errors import DataError
from libmoe.data.rows import Rows


@pytest.fixture
def rows(write_index, row):
    return write_index(
        [
            row("human", "<image>\nwhat?", "gpt", "a cat", images=["a.jpg"], id="one"),
            row("human", "é", "gpt", "ok", id="two"),
            row("human", "x" * 50, "gpt", "y" * 7, "human", "z", images=["b.jpg", "c.jpg"], id="three"),
        ]
    )


def test_rows_come_back_as_they_were_written(rows, row):
    assert len(rows) == 3
    assert rows[0] == row("human", "<image>\nwhat?", "gpt", "a cat", images=["a.jpg"], id="one")
    assert rows[2].images == ("b.jpg", "c.jpg")
    assert [turn.speaker for turn in rows[2].turns] == ["human", "gpt", "human"]


def test_sizes_of_all_rows_are_known_without_reading_them(rows):
    assert rows.image_counts().tolist() == [1, 0, 2]
    assert rows.text_lengths().tolist() == [13 + 5, 2 + 2, 50 + 7 + 1]


def test_pickles_as_a_path(rows):
    len(rows)  # mapped
    packed = pickle.dumps(rows)
    assert len(packed) < 300
    assert pickle.loads(packed)[1].id == "two"


def test_an_empty_index_has_no_rows(write_index):
    rows = write_index([])
    assert len(rows) == 0
    assert rows.image_counts().tolist() == rows.text_lengths().tolist() == []


@pytest.mark.parametrize("content", [None, b"", b"not arrow at all"])
def test_an_index_that_is_none_names_itself(tmp_path, content):
    path = tmp_path / "broken.arrow"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.arrow .*prepare"):
        len(Rows(path))

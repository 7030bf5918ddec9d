"""metrics.jsonl."""

import json
import math

import pytest

from libmoe.train.callbacks.metrics_file import MetricsFile


def write(path, start, records):
    sink = MetricsFile(path, start)
    for one in records:
        sink.write(one, 9)
    sink.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_numbers_read_back_exactly(tmp_path, record):
    loss = math.nextafter(0.3, 1)
    (line,) = write(tmp_path / "m.jsonl", 0, [record(loss=loss)])
    assert line["loss"] == loss


def test_what_does_not_apply_is_absent(tmp_path, record):
    dense, mixed = write(tmp_path / "m.jsonl", 0, [record(), record(step=2, balance_loss=3.0, z_loss=0.5)])
    assert "balance_loss" not in dense
    assert [*mixed][:5] == ["step", "loss", "lm_loss", "balance_loss", "z_loss"]


def test_a_line_is_there_as_soon_as_the_step(tmp_path, record):
    sink = MetricsFile(tmp_path / "m.jsonl", 0)
    sink.write(record(), 9)
    assert (tmp_path / "m.jsonl").read_text().endswith("\n")


@pytest.mark.parametrize(("start", "kept"), [(0, []), (2, [1, 2]), (3, [1, 2, 3])])
def test_resuming_drops_what_comes_again(tmp_path, record, start, kept):
    path = tmp_path / "m.jsonl"
    write(path, 0, [record(step=step) for step in (1, 2, 3)])
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    lines = write(path, start, [record(step=start + 1)])
    assert [line["step"] for line in lines] == [*kept, start + 1]


@pytest.mark.parametrize("damage", ["no line\n", "[1]\n", "\0\0\0\n", "{}\n"])
def test_a_damaged_line_is_left_out(tmp_path, record, damage):
    path = tmp_path / "m.jsonl"
    write(path, 0, [record(step=step) for step in (1, 2)])
    path.write_text(damage + path.read_text())
    lines = write(path, 2, [record(step=3)])
    assert [line["step"] for line in lines] == [1, 2, 3]

"""router.jsonl: what the callback writes around a model's forward passes, and after a resumption."""

import json
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from libmoe.data.collator import BatchFacts
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import model_config
from libmoe.moe.statistics import LayerSummary
from libmoe.train.callbacks.router_statistics import RouterLog, RouterStatisticsCallback, rounded

VISION = "model.vision_tower.encoder.layers.0.mlp"
CONNECTOR = "model.multi_modal_projector"


@pytest.fixture
def lines(tmp_path):
    return lambda: [json.loads(line) for line in (tmp_path / "router.jsonl").read_text().splitlines()]


@pytest.fixture
def model(tmp_path, spec_of):
    config = model_config(spec_of(tmp_path / "run", "sft").config, image_token_id=3)
    return LibmoeForConditionalGeneration(config).train()


def micro_batch(model, callback, images):
    """One row, with an image or of text alone."""
    ids = torch.full((1, 20), 30)
    ids[:, : 16 * images] = 3
    callback.hear(BatchFacts(rows=("r",), tokens=20, images=images, unlabelled=()))
    pixels = torch.randn(images, 3, 168, 168) if images else None
    model(input_ids=ids, pixel_values=pixels, labels=ids).loss.backward()


def step(model, callback, state, *images):
    callback.on_step_begin(None, state)
    for count in images:
        micro_batch(model, callback, count)
    state.global_step += 1
    callback.on_step_end(None, state)


def test_sampled_steps_hold_all_layers_and_no_blank_image(tmp_path, alone, model, lines):
    callback, state = RouterStatisticsCallback(2, RouterLog(tmp_path, 0)), SimpleNamespace(global_step=0)
    callback.on_train_begin(model=model)
    model.activation_checkpointing_enable({"use_reentrant": False})
    step(model, callback, state, 1, 0)
    step(model, callback, state, 1)
    step(model, callback, state, 0)
    callback.on_train_end()
    first, third = lines()
    assert (first["step"], third["step"]) == (1, 3)
    assert [*first["layers"]] == [VISION, VISION.replace("0", "1"), CONNECTOR]
    assert first["layers"][VISION]["tokens"] == 10 * 16  # ten tiles of one image, though recomputed
    assert first["layers"][CONNECTOR]["tokens"] == 16
    assert {layer["tokens"] for layer in third["layers"].values()} == {0}  # text alone shows a blank tile
    assert third["layers"][VISION]["entropy"] is None
    board = EventAccumulator(str(tmp_path / "tensorboard" / "router")).Reload()
    (event,) = board.Scalars(f"{CONNECTOR}/entropy")
    assert event.step == 1
    assert event.value == pytest.approx(first["layers"][CONNECTOR]["entropy"], rel=1e-5)


def test_a_layer_without_tokens_has_no_curve(tmp_path, alone, model, lines):
    callback, state = RouterStatisticsCallback(1, RouterLog(tmp_path, 0)), SimpleNamespace(global_step=0)
    callback.on_train_begin(model=model)
    step(model, callback, state, 0)
    callback.on_train_end()
    assert len(lines()) == 1
    assert EventAccumulator(str(tmp_path / "tensorboard" / "router")).Reload().Tags()["scalars"] == []


def test_a_figure_that_is_not_known_has_no_curve(tmp_path, lines):
    log = RouterLog(tmp_path, 0)
    layer = LayerSummary(4, [0.5, 0.5], [1.0, 0.0], [[1.0, 1.0], [1.0, 1.0]], 0.1, None, 0.0, 0.0, 2.0)
    log.write(1, {"mlp": layer})
    log.close()
    assert lines()[0]["layers"]["mlp"]["margin"] is None
    curves = EventAccumulator(str(tmp_path / "tensorboard" / "router")).Reload().Tags()["scalars"]
    figures = ("load_max", "load_min", "entropy", "null_share", "dropped_share", "z")
    assert sorted(curves) == sorted(f"mlp/{name}" for name in figures)


def test_other_ranks_add_up_and_write_nothing(tmp_path, alone, model):
    callback, state = RouterStatisticsCallback(1, None), SimpleNamespace(global_step=0)
    callback.on_train_begin(model=model)
    step(model, callback, state, 1)
    callback.on_train_end()
    assert [*tmp_path.glob("router*")] == []


def test_resuming_drops_what_comes_again(tmp_path, lines):
    log = RouterLog(tmp_path, 0)
    for number in (1, 3, 5):
        log.write(number, {})
    log.close()
    RouterLog(tmp_path, 4).close()
    assert [line["step"] for line in lines()] == [1, 3]


def test_six_digits_are_kept():
    assert rounded({"a": [[1 / 3, 2]], "b": None}) == {"a": [[0.333333, 2]], "b": None}

"""Counted operations against what torch's counter sees in a real model: exactly equal."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from libmoe.config.algorithms import BUILT_IN
from libmoe.config.counting.anatomy import anatomy
from libmoe.config.counting.flops import forward_flops, training_flops
from libmoe.config.layers import Layer, resolve
from libmoe.config.schema import RunConfig
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import model_config

TOKENS, IMAGES, IMAGE_TOKENS = 40, 2, 16
EVERYWHERE = ["vision", "connector", "language"]


def configured(**settings: Any) -> RunConfig:
    return resolve("sft", "tiny", [Layer("test", settings)]).config


def built(run: RunConfig) -> LibmoeForConditionalGeneration:
    """Attention by plain products, which the counter knows on every device."""
    config = model_config(
        run.model_copy(update={"model": run.model.model_copy(update={"attention": "eager"})}), 3
    )
    model = LibmoeForConditionalGeneration(config).train()
    model.set_attn_implementation("eager")
    return model


def counted(model: LibmoeForConditionalGeneration, train: bool) -> int:
    """Of one row with two images."""
    ids = torch.full((1, TOKENS), 30)
    ids[:, : IMAGES * IMAGE_TOKENS] = 3
    pixels = torch.randn(IMAGES, 3, 168, 168)
    with FlopCounterMode(display=False) as counter:
        output = model(input_ids=ids, pixel_values=pixels, labels=ids)
        if train:
            output.loss.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["none", *BUILT_IN])
def test_forward(name: str) -> None:
    """Null slots and cheap experts are not taken yet; 16 tokens do not split evenly over 5 experts."""
    where = [part for part in EVERYWHERE if (name, part) != ("expert_choice", "language")]
    run = configured(moe={"name": name, "where": where, "experts": 5, "top_k": 2})
    expected = forward_flops(anatomy(run.model, run.moe), TOKENS, IMAGES)
    assert counted(built(run), train=False) == expected.total


def test_a_class_token_is_computed_like_a_patch() -> None:
    run = configured(model={"vision": {"config": {"model_type": "clip_vision_model"}}})
    assert (
        counted(built(run), train=False) == forward_flops(anatomy(run.model, run.moe), TOKENS, IMAGES).total
    )


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("name", "trainable"),
    [
        ("none", ["connector"]),
        ("none", ["vision"]),
        ("none", ["language"]),
        ("none", EVERYWHERE),
        ("smoe", ["connector"]),
        ("smoe", ["vision"]),
        ("smoe", EVERYWHERE),
        ("xmoe", EVERYWHERE),
        ("smoe_plus_plus", EVERYWHERE),
    ],
)
def test_training(name: str, trainable: list, checkpointing: bool) -> None:
    run = configured(moe={"name": name, "where": EVERYWHERE})
    model = built(run)
    model.set_trainable(trainable)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    expected = training_flops(anatomy(run.model, run.moe), trainable, checkpointing, TOKENS, IMAGES)
    assert counted(model, train=True) == expected.total

"""The whole model: real classes, tiny sizes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import model_config
from libmoe.moe import MoEMLP

Batch = dict[str, Tensor]
MakeSpec = Callable[..., RunSpec]


def gradients(model: LibmoeForConditionalGeneration, **inputs: Any) -> dict[str, Tensor]:
    model.zero_grad()
    model(**inputs).loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def test_experts_replace_vision_mlps_and_connector(moe_model: LibmoeForConditionalGeneration) -> None:
    layers = list(moe_model.moe_layers())
    assert len(layers) == 3
    assert all(isinstance(layer.mlp, MoEMLP) for layer in moe_model.model.vision_tower.encoder.layers)
    assert isinstance(moe_model.model.multi_modal_projector, MoEMLP)
    assert not any(isinstance(module, MoEMLP) for module in moe_model.model.language_model.modules())


def test_upcycled_model_computes_what_the_dense_one_does(
    dense_model: LibmoeForConditionalGeneration, moe_model: LibmoeForConditionalGeneration, batch: Batch
) -> None:
    with torch.no_grad():
        dense, upcycled = (model.double().eval()(**batch).logits for model in (dense_model, moe_model))
    torch.testing.assert_close(upcycled, dense, rtol=1e-10, atol=1e-12)


def test_every_parameter_is_trained(moe_model: LibmoeForConditionalGeneration, batch: Batch) -> None:
    found = gradients(moe_model.train(), **batch)
    assert found.keys() == dict(moe_model.named_parameters()).keys()
    assert [name for name, gradient in found.items() if not gradient.any()] == []


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_no_gradient(
    moe_model: LibmoeForConditionalGeneration, batch: Batch, reentrant: bool
) -> None:
    expected = gradients(moe_model.train(), **batch)
    moe_model.activation_checkpointing_enable({"use_reentrant": reentrant})
    moe_model.enable_input_require_grads()
    assert moe_model.model.vision_tower.encoder.layers[0].gradient_checkpointing
    torch.testing.assert_close(gradients(moe_model, **batch), expected, rtol=1e-5, atol=1e-8)


def test_text_alone_gives_vision_zero_gradients_and_the_rest_its_own(
    moe_model: LibmoeForConditionalGeneration, batch: Batch
) -> None:
    text = {"input_ids": batch["input_ids"][:, 18:], "labels": batch["labels"][:, 18:]}
    found = gradients(moe_model.train(), **text)
    assert found.keys() == dict(moe_model.named_parameters()).keys()
    for name, gradient in found.items():
        language = "language_model" in name or "lm_head" in name
        assert bool(gradient.any()) is language, name


def test_images_of_some_rows_only(moe_model: LibmoeForConditionalGeneration, batch: Batch) -> None:
    model = moe_model.eval()
    ids = batch["input_ids"].clone()
    ids[0, 2:18] = 30  # the first row's image becomes text
    with torch.no_grad():
        mixed = model(input_ids=ids, pixel_values=batch["pixel_values"][1:]).logits
        alone = model(input_ids=ids[1:], pixel_values=batch["pixel_values"][1:]).logits
    torch.testing.assert_close(mixed[1:], alone, rtol=1e-4, atol=1e-5)


def test_cached_generation_is_the_uncached(moe_model: LibmoeForConditionalGeneration, batch: Batch) -> None:
    inputs = {name: batch[name][:1] for name in ("input_ids", "pixel_values", "attention_mask")}
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    cached = moe_model.eval().generate(**inputs, **options)
    assert torch.equal(cached, moe_model.generate(**inputs, **options, use_cache=False))
    ids = inputs["input_ids"]
    with torch.no_grad():
        for _ in range(8):
            logits = moe_model(input_ids=ids, pixel_values=inputs["pixel_values"]).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(cached, ids)


def test_generating_while_training(moe_model: LibmoeForConditionalGeneration, batch: Batch) -> None:
    """As samples in the midst of a training loop are made; it has no dropout."""
    asked = {name: batch[name] for name in ("input_ids", "pixel_values", "attention_mask")}
    options = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None}
    for inputs in (asked, {"input_ids": batch["input_ids"][:, 18:]}):
        expected = moe_model.eval().generate(**inputs, **options)
        assert torch.equal(moe_model.train().generate(**inputs, **options), expected)


def test_features_of_a_layer_that_was_never_built(
    moe_model: LibmoeForConditionalGeneration, batch: Batch
) -> None:
    moe_model.get_image_features(batch["pixel_values"], vision_feature_layer=-2)
    with pytest.raises(ConfigError, match="built for vision_feature_layer=-2, not -1"):
        moe_model(**batch, vision_feature_layer=-1)


def test_parts_are_frozen_and_trained(moe_model: LibmoeForConditionalGeneration, batch: Batch) -> None:
    moe_model.set_trainable(["connector"])
    found = gradients(moe_model.train(), **batch)
    assert {name.split(".")[1] for name in found} == {"multi_modal_projector"}
    assert next(iter(moe_model.moe_layers())).balance_loss is None
    modules = [module for name in ("vision", "connector", "language") for module in moe_model.part(name)]
    covered = sum(parameter.numel() for module in modules for parameter in module.parameters())
    assert covered == sum(parameter.numel() for parameter in moe_model.parameters())


def test_an_image_token_beyond_the_vocabulary_needs_no_embedding(
    make_spec: MakeSpec, moe_model: LibmoeForConditionalGeneration, batch: Batch
) -> None:
    beyond = LibmoeForConditionalGeneration(model_config(make_spec("sft").config, image_token_id=1024))
    beyond.load_state_dict(moe_model.state_dict())
    inside = moe_model.config.image_token_id
    ids = batch["input_ids"].masked_fill(batch["input_ids"] == inside, 1024)
    labels = ids.masked_fill(ids == 1024, -100)
    mine = gradients(beyond.train(), **{**batch, "input_ids": ids, "labels": labels})
    expected = gradients(moe_model.train(), **{**batch, "labels": labels})
    torch.testing.assert_close(mine, expected, rtol=0, atol=0)
    pixels = batch["pixel_values"][:1]
    beyond.eval().generate(input_ids=ids[:1], pixel_values=pixels, max_new_tokens=2, do_sample=False)

"""Experts in all three parts of tiny models made of transformers' own towers and language models."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import build_model
from libmoe.moe import MoEMLP

MakeSpec = Callable[..., RunSpec]
Batch = dict[str, Tensor]

TOWERS: dict[str, dict[str, Any]] = {
    "siglip": {"model_type": "siglip_vision_model"},
    "siglip2-naflex": {"model_type": "siglip2_vision_model", "num_patches": 16},
    "clip": {"model_type": "clip_vision_model", "hidden_act": "quick_gelu"},
}
LANGUAGES: dict[str, dict[str, Any]] = {
    "phi3": {"model_type": "phi3"},
    "smollm2": {"model_type": "llama", "tie_word_embeddings": True},
    "llama": {"model_type": "llama", "num_key_value_heads": 2, "mlp_bias": True},
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 2},
    "qwen3": {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 16},
    "smollm3": {"model_type": "smollm3", "num_key_value_heads": 2, "no_rope_layer_interval": 2},
}
PAIRS = [(tower, "phi3") for tower in TOWERS] + [("siglip", name) for name in LANGUAGES if name != "phi3"]
EVERYWHERE = {
    "name": "smoe",
    "experts": 3,
    "top_k": 2,
    "where": ["vision", "connector", "language"],
    "layers": {"vision": [1], "language": "every 2"},
    "router_std": 0.5,
}


@dataclass(frozen=True)
class Models:
    """A dense model, the same one upcycled, and two rows for either."""

    dense: LibmoeForConditionalGeneration
    mixed: LibmoeForConditionalGeneration
    batch: Batch


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def models(request: pytest.FixtureRequest, make_spec: MakeSpec) -> Models:
    tower, language = request.param
    sizes = {"vision": {"config": TOWERS[tower]}, "language": {"config": LANGUAGES[language]}}
    dense = build_model(make_spec("pft", {"model": sizes}))
    mixed = build_model(make_spec("sft", {"model": sizes, "moe": EVERYWHERE}))
    return Models(dense, mixed, rows(dense.config.image_token_id))


def rows(image_token_id: int) -> Batch:
    generator = torch.Generator().manual_seed(5)
    input_ids = torch.randint(20, 500, (2, 24), generator=generator)
    input_ids[:, 2:18] = image_token_id
    labels = input_ids.masked_fill(input_ids == image_token_id, -100)
    pixels = torch.randn(2, 3, 168, 168, generator=generator)
    mask = torch.ones_like(input_ids)
    return {"input_ids": input_ids, "labels": labels, "pixel_values": pixels, "attention_mask": mask}


def gradients(model: LibmoeForConditionalGeneration, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    model.train()(**batch).loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def test_experts_are_where_they_were_wanted(models: Models) -> None:
    places = [name for name, module in models.mixed.model.named_modules() if isinstance(module, MoEMLP)]
    assert places == [
        "vision_tower.encoder.layers.1.mlp",
        "multi_modal_projector",
        "language_model.layers.0.mlp",
    ]


def test_it_starts_as_the_dense_model(models: Models) -> None:
    with torch.no_grad():
        dense, mixed = (
            model.double().eval()(**models.batch).logits for model in (models.dense, models.mixed)
        )
    models.dense.float()
    models.mixed.float()
    assert dense.std() > 0.01
    torch.testing.assert_close(mixed, dense, rtol=1e-9, atol=1e-11)


def test_every_parameter_learns_also_with_checkpointing(models: Models) -> None:
    plain = gradients(models.mixed, models.batch)
    assert plain.keys() == dict(models.mixed.named_parameters()).keys()
    unused = [name for name, gradient in plain.items() if not gradient.any()]
    assert [name for name in unused if "k_proj.bias" not in name] == []  # softmax cancels a key's bias
    models.mixed.activation_checkpointing_enable({"use_reentrant": False})
    stacks = (models.mixed.model.vision_tower.encoder.layers, models.mixed.model.language_model.layers)
    assert all(layer.gradient_checkpointing for stack in stacks for layer in stack)
    checkpointed = gradients(models.mixed, models.batch)
    models.mixed.activation_checkpointing_disable()
    torch.testing.assert_close(checkpointed, plain, rtol=1e-5, atol=1e-8)


def test_a_frozen_tower_and_connector_leave_no_graph(models: Models) -> None:
    mixed = models.mixed.train()
    seen: list[Tensor] = []
    watched = [mixed.model.vision_tower.encoder.layers[0], mixed.model.multi_modal_projector]
    handles = [m.register_forward_hook(lambda _m, _i, out: seen.append(out)) for m in watched]
    mixed.enable_input_require_grads()  # what adapters' trainers do, which asks the embeddings for gradients
    mixed.set_trainable(["language"])
    mixed(**models.batch)
    assert [out.grad_fn for out in seen] == [None, None]
    mixed.set_trainable(["connector", "language"])
    mixed(**models.batch)
    assert [out.grad_fn is None for out in seen[2:]] == [True, False]
    mixed.set_trainable(["vision", "connector", "language"])
    mixed.disable_input_require_grads()
    for handle in handles:
        handle.remove()


def test_cached_generation_is_the_uncached(models: Models) -> None:
    inputs = {name: value for name, value in models.batch.items() if name != "labels"}
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    cached = models.mixed.eval().generate(**inputs, **options)
    assert torch.equal(cached, models.mixed.generate(**inputs, **options, use_cache=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_it_comes_back_bit_for_bit(models: Models, dtype: torch.dtype, tmp_path: Path) -> None:
    model = trained_copy(models.mixed, dtype)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert again.dtype == dtype
    torch.testing.assert_close(dict(again.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    assert again.config.moe_settings == models.mixed.config.moe_settings


def trained_copy(model: LibmoeForConditionalGeneration, dtype: torch.dtype) -> LibmoeForConditionalGeneration:
    """The model with noise on all its values, as if it had been trained."""
    trained = copy.deepcopy(model).to(dtype)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return trained


@pytest.mark.parametrize(
    ("vision", "language", "problem"),
    [
        ("dinov2", "phi3", "Dinov2Model cannot be the tower"),
        ("siglip_vision_model", "gpt2", "GPT2Model cannot be the language model"),
        ("siglip_vision_model", "lfm2", "Lfm2Model does not keep its MLPs in layers"),
        ("siglip_vision_model", "qwen3_moe", "Qwen3MoeSparseMoeBlock cannot become experts"),
        ("siglip_vision_model", "phi3", r"moe\.layers\.language is \[1, 2\], but .* 0 to 1"),
    ],
)
def test_what_cannot_have_experts_is_told(
    make_spec: MakeSpec, vision: str, language: str, problem: str
) -> None:
    types = {"vision": {"config": {"model_type": vision}}, "language": {"config": {"model_type": language}}}
    layers = [1, 2] if vision.startswith("siglip") and language == "phi3" else "all"
    moe = {"where": ["vision", "language"], "layers": {"language": layers}}
    settings = {"model": types, "moe": moe}
    with pytest.raises(ConfigError, match=problem):
        build_model(make_spec("sft", settings))


def test_a_tower_for_any_shape_wants_its_number_of_patches(make_spec: MakeSpec) -> None:
    vision = {"config": {"model_type": "siglip2_vision_model"}}
    with pytest.raises(ConfigError, match=r"tiles of 224 pixels, .* model\.vision\.config\.num_patches=256"):
        build_model(make_spec("pft", {"model": {"vision": vision}, "data": {"max_length": 512}}))


def test_layers_of_a_part_without_experts_are_told(make_spec: MakeSpec) -> None:
    with pytest.raises(ConfigError, match=r"moe\.layers\.language chooses .* add 'language' to moe\.where"):
        build_model(make_spec("sft", {"moe": {"layers": {"language": "every 2"}}}))

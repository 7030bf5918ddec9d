"""Counted parameters against the modules that transformers and libmoe build, on the meta device."""

from typing import Any

import pytest

from libmoe.config.algorithms import BUILT_IN
from libmoe.config.counting.anatomy import anatomy
from libmoe.config.counting.parameters import count_parameters
from libmoe.config.errors import ConfigError
from libmoe.config.layers import Layer, presets, resolve
from libmoe.config.schema import RunConfig
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import model_config
from libmoe.model.skeleton import skeleton

UPSTREAM = [
    "smoe", "smoe_sigmoidgating", "xmoe", "smoe_share", "smoe_sharev3", "smoe_plus_plus", "smoe_tcmoe",
]  # fmt: skip
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 3}
DECODER = SIZES | {"vocab_size": 300, "num_key_value_heads": 2, "pad_token_id": 0}


def configured(**settings: Any) -> RunConfig:
    """Stage 3 of ``tiny`` with other settings."""
    return resolve("sft", settings.pop("preset", "tiny"), [Layer("test", settings)]).config


def built(run: RunConfig) -> LibmoeForConditionalGeneration:
    return skeleton(model_config(run, image_token_id=3))


def held(model: LibmoeForConditionalGeneration) -> dict[str, int]:
    """Parameters of the real modules by part, each tensor once."""
    counts = dict.fromkeys(["vision", "connector", "language", "embeddings", "experts", "routers"], 0)
    for name, parameter in model.named_parameters():
        counts[part_of(name)] += parameter.numel()
    return counts


def part_of(name: str) -> str:
    if ".experts." in name:
        return "experts"
    if ".router." in name:
        return "routers"
    if "embed_tokens" in name or name.startswith("lm_head"):
        return "embeddings"
    parts = {"vision_tower": "vision", "multi_modal_projector": "connector", "language_model": "language"}
    return parts[name.split(".")[1]]


def check(run: RunConfig) -> None:
    counted, model = count_parameters(anatomy(run.model, run.moe)), built(run)
    real = held(model)
    assert {part: getattr(counted, part) for part in real} == real
    assert counted.total == sum(real.values())
    for part, count in counted.by_part.items():
        modules = {id(p): p.numel() for module in model.part(part) for p in module.parameters()}
        assert count == sum(modules.values())


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("name", ["none", "smoe"])
def test_presets(preset: str, name: str) -> None:
    check(configured(preset=preset, moe={"name": name}))


@pytest.mark.parametrize(
    ("name", "compat"),
    [*((name, "published") for name in BUILT_IN), *((name, "upstream") for name in UPSTREAM)],
)
def test_algorithms(name: str, compat: str) -> None:
    check(configured(moe={"name": name, "compat": compat, "experts": 5, "top_k": 2}))


def test_mixtures_anywhere() -> None:
    layers = {"vision": "every 2", "language": [1]}
    check(configured(moe={"where": ["vision", "connector", "language"], "layers": layers}))


@pytest.mark.parametrize(
    "language",
    [
        {"model_type": "phi3"},
        {"model_type": "llama", "tie_word_embeddings": True},
        {"model_type": "llama", "attention_bias": True, "mlp_bias": True, "head_dim": 8},
        {"model_type": "mistral"},
        {"model_type": "qwen2"},
        {"model_type": "qwen2", "tie_word_embeddings": True},
        {"model_type": "qwen3"},
        {"model_type": "smollm3"},
    ],
    ids=lambda language: "-".join(map(str, language.values())),
)
@pytest.mark.parametrize("name", ["none", "smoe"])
def test_language_families(language: dict[str, Any], name: str) -> None:
    run = configured(moe={"name": name, "where": ["language"]})
    backbone = run.model.language.model_copy(update={"config": {**DECODER, **language}})
    check(run.model_copy(update={"model": run.model.model_copy(update={"language": backbone})}))


@pytest.mark.parametrize(
    "vision",
    [
        {"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14},
        {"model_type": "siglip2_vision_model", "num_patches": 16, "patch_size": 4},
        {"model_type": "clip_vision_model", "image_size": 28, "patch_size": 14},
    ],
    ids=lambda vision: vision["model_type"],
)
@pytest.mark.parametrize("feature_layer", [-2, -1, 2])
def test_vision_families(vision: dict[str, Any], feature_layer: int) -> None:
    run = configured(model={"vision_feature_layer": feature_layer})
    backbone = run.model.vision.model_copy(update={"config": {**SIZES, **vision}})
    check(run.model_copy(update={"model": run.model.model_copy(update={"vision": backbone})}))


def test_of_each_mixture_k_experts_are_active() -> None:
    """Half of six experts."""
    run = configured(moe={"top_k": 3})
    counted = count_parameters(anatomy(run.model, run.moe))
    assert counted.active == counted.total - counted.experts // 2


@pytest.mark.parametrize("part", ["vision", "language"])
def test_an_unknown_model_type_is_named(part: str) -> None:
    run = configured(model={part: {"config": {"model_type": "phi33"}}})
    with pytest.raises(ConfigError, match=rf"model\.{part}\.config\.model_type 'phi33' are not known"):
        anatomy(run.model, run.moe)


def test_a_missing_size_is_asked_for() -> None:
    run = configured()
    backbone = run.model.vision.model_copy(update={"config": {"model_type": "clip_vision_model"}})
    model = run.model.model_copy(update={"vision": backbone})
    with pytest.raises(ConfigError, match=r"--set model\.vision\.config\.num_hidden_layers="):
        anatomy(model, run.moe)


def test_a_plugin_of_unknown_size_is_named() -> None:
    run = configured(moe={"plugin": "mine", "name": "mine"})
    with pytest.raises(ConfigError, match="routing algorithm 'mine'"):
        anatomy(run.model, run.moe)

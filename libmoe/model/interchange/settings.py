"""Upstream's ``config.json`` and ours, in both directions.

Upstream writes the arguments of its training scripts beside the language model's configuration; the tower's
is none of it, only its name on the hub.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from transformers import CONFIG_MAPPING, PreTrainedConfig

from libmoe.config.errors import ConfigError, nearest
from libmoe.config.schema import MoEConfig
from libmoe.model.config import LibmoeConfig
from libmoe.model.interchange.names import ROUTERS
from libmoe.model.interchange.towers import Tower

LANGUAGES = {
    "llava_phi": ("phi3", "LlavaPhiForCausalLM"),
    "llava_smollm": ("llama", "LlavaSmollmForCausalLM"),
    "llava_llama": ("llama", "LlavaLlamaForCausalLM"),
    "llava_mistral": ("mistral", "LlavaMistralForCausalLM"),
}
"""Upstream's model types: transformers' type of the language model, upstream's class."""

_MOE = {
    "moe_name": "name",
    "num_experts": "experts",
    "num_selected": "top_k",
    "balance_loss_coef": "balance_coefficient",
    "router_z_loss_coef": "z_coefficient",
    "std_gate": "router_std",
}
"""Upstream's key to our ``moe`` setting."""

_WHERE = {"clip_smoe": "vision", "mlp_smoe": "connector"}

_ALWAYS = {"compat": "upstream"}
"""Settings of every imported mixture."""

_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "mm_projector_type": ("mlp2x_gelu", "moe"),
    "mm_patch_merge_type": ("flat",),
    "mm_use_im_start_end": (False,),
    "image_aspect_ratio": ("square", "pad"),
}
"""Keys that change what upstream's model computes, and the values that ours computes too."""

IGNORED = (
    # never read by the model: its features are always the input of the last layer, class token left out
    "mm_vision_select_layer", "mm_vision_select_feature", "mm_use_im_patch_token", "use_mm_proj",
    "mp_pixel_shuffle_factor", "is_norm", "mm_hidden_size",
    # where a run started, and how
    "_name_or_path", "model_name_or_path", "version", "vision_tower", "vision_tower_dir",
    "pretrain_mm_mlp_adapter", "freeze_backbone", "freeze_mm_mlp_adapter", "tune_mm_mlp_adapter",
    "mm_projector_lr", "sparse_upcycling", "init_weight", "training", "local_rank", "unit_test", "use_old",
    "tokenizer_model_max_length", "tokenizer_padding_side", "dropout",
    # of algorithms that were never released
    "num_layers", "router_loss_coef", "diversity_loss_coef", "bal_comp_loss_coef", "e_loss_coef", "topk_max",
    "topk_min", "number_of_previous_tokens",
    # of the library that wrote the file
    "architectures", "auto_map", "transformers_version", "_attn_implementation_autoset",
)  # fmt: skip
"""Keys that are left out on purpose."""

_ROPE = ("rope_theta", "rope_scaling", "partial_rotary_factor")
"""Position settings as the transformers of upstream's time spelled them."""


def unknown_keys(upstream: Mapping[str, Any]) -> list[str]:
    """Keys that are neither read nor left out on purpose."""
    known = {*_MOE, *_WHERE, *_SUPPORTED, *IGNORED, *_ROPE}
    known |= {"model_type", "mm_vision_tower", "scales", "dtype", "torch_dtype"}
    known |= set(_language_class(upstream)().to_dict())
    return sorted(set(upstream) - known)


def from_upstream(
    upstream: Mapping[str, Any], tower: Tower, image_token_id: int, dtype: torch.dtype
) -> LibmoeConfig:
    """Our configuration of the model that upstream's ``config.json`` describes.

    Raises:
        ConfigError: it describes a model that ours cannot compute.
    """
    for key, values in _SUPPORTED.items():
        if upstream.get(key, values[0]) not in values:
            raise ConfigError(
                f"Upstream's config.json says {key} = {upstream[key]!r}, which is not supported: only "
                f"{' or '.join(map(repr, values))} can be imported."
            )
    scales = [int(scale) for scale in upstream.get("scales") or [1]]
    if scales[0] != 1:
        raise ConfigError(
            f"Upstream's config.json says scales = {scales}, but its first is computed as 1 whatever it is: "
            "write 1 there."
        )
    moe = _moe_from(upstream)
    text = _language_from(upstream)
    if image_token_id >= text.vocab_size:
        raise ConfigError(
            f"The image token's id {image_token_id} is beyond the model's {text.vocab_size} embeddings: "
            "give --tokenizer the tokenizer that belongs to the language model."
        )
    config = LibmoeConfig(
        vision_config=tower.config(),
        text_config=text,
        image_token_index=image_token_id,
        projector_hidden_act="gelu",
        vision_feature_select_strategy="full",
        vision_feature_layer=-2,
        scales=scales,
        moe=moe.model_dump(mode="json"),
        dtype=dtype,
    )
    config.image_seq_length = config.grid**2
    config.architectures = ["LibmoeForConditionalGeneration"]
    return config


def to_upstream(config: LibmoeConfig, tower: str, pad: bool) -> dict[str, Any]:
    """Upstream's ``config.json`` for a model of ours.

    Args:
        tower: name of the tower on the hub.
        pad: images are padded to a square, not resized to one.

    Raises:
        ConfigError: upstream has no such model.
    """
    settings = config.moe_settings
    mixed = settings.where if settings.name != "none" else ()
    fixed = {"vision_feature_layer": -2, "projector_hidden_act": "gelu"}
    for key, value in fixed.items():
        if getattr(config, key) != value:
            raise ConfigError(
                f"Upstream's model has {key} {value!r}, this one {getattr(config, key)!r}: "
                "it cannot be exported."
            )
    if config.scales[0] != 1:
        raise ConfigError(
            f"Upstream's first scale is always 1, this model's scales are {list(config.scales)}: "
            "it cannot be exported."
        )
    values = _language_to(config.text_config) | {
        "torch_dtype": str(config.dtype or torch.float32).removeprefix("torch."),
        "mm_vision_tower": tower,
        "mm_hidden_size": config.vision_config.hidden_size,
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_projector_type": "moe" if "connector" in mixed else "mlp2x_gelu",
        "mm_patch_merge_type": "flat",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "image_aspect_ratio": "pad" if pad else "square",
        "scales": list(config.scales),
        "sparse_upcycling": True,
        "training": False,
        "local_rank": -1,
    }
    values |= {key: part in mixed for key, part in _WHERE.items()}
    if mixed:
        values |= {key: getattr(settings, setting) for key, setting in _MOE.items()}
    return values


def _moe_from(upstream: Mapping[str, Any]) -> MoEConfig:
    where = [part for key, part in _WHERE.items() if upstream.get(key)]
    if (upstream.get("mm_projector_type") == "moe") != ("connector" in where):
        raise ConfigError(
            "Upstream's config.json contradicts itself: mm_projector_type and mlp_smoe do not agree on "
            "whether the connector has experts; correct the wrong one."
        )
    if not where:
        return MoEConfig()
    if upstream.get("moe_name") not in ROUTERS:
        name = str(upstream.get("moe_name"))
        raise ConfigError(f"Upstream's moe_name {name!r} cannot be imported: {nearest(name, ROUTERS)}")
    named = {setting: upstream[key] for key, setting in _MOE.items() if upstream.get(key) is not None}
    try:
        return MoEConfig.model_validate(named | _ALWAYS | {"where": where})
    except ValidationError as error:
        problem = error.errors()[0]
        key = next((key for key, setting in _MOE.items() if (setting,) == problem["loc"]), "moe_name")
        raise ConfigError(
            f"Upstream's config.json says {key} = {upstream.get(key)!r}, which is wrong: {problem['msg']}."
        ) from error


def _language_class(upstream: Mapping[str, Any]) -> type[PreTrainedConfig]:
    model_type = str(upstream.get("model_type"))
    if model_type not in LANGUAGES:
        raise ConfigError(
            f"config.json is of model type {model_type!r}, which is none of upstream's: "
            f"{nearest(model_type, LANGUAGES)}"
        )
    return CONFIG_MAPPING[LANGUAGES[model_type][0]]


def _language_keys(language: type[PreTrainedConfig]) -> set[str]:
    every = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    return {field.name for field in dataclasses.fields(language)} - every


def _language_from(upstream: Mapping[str, Any]) -> PreTrainedConfig:
    language = _language_class(upstream)
    values = {key: value for key, value in upstream.items() if key in _language_keys(language)}
    rope = dict(upstream.get("rope_scaling") or {})
    rope |= {key: upstream[key] for key in ("rope_theta", "partial_rotary_factor") if key in upstream}
    if rope:
        values["rope_parameters"] = {"rope_type": rope.pop("type", "default"), **rope}
    return language(**values)


def _language_to(text: PreTrainedConfig) -> dict[str, Any]:
    model_type = next((name for name, (kind, _) in LANGUAGES.items() if kind == text.model_type), None)
    if model_type is None:
        raise ConfigError(
            f"Upstream has no model around a language model of type {text.model_type!r}: only around "
            f"{', '.join(sorted({kind for kind, _ in LANGUAGES.values()}))}."
        )
    values = {key: value for key, value in text.to_dict().items() if key in _language_keys(type(text))}
    rope = dict(values.pop("rope_parameters", None) or {})
    old_name = rope.pop("type", "default")
    kind = rope.pop("rope_type", old_name)
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in rope:
            values[key] = rope.pop(key)
    if hasattr(text, "original_max_position_embeddings"):  # phi3 keeps it outside, and counts the keys inside
        rope.pop("original_max_position_embeddings", None)
    values["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    return {"model_type": model_type, "architectures": [LANGUAGES[model_type][1]], **values}

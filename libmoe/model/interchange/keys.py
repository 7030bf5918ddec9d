"""The keys of upstream's ``config.json``, and what each is to us.

Upstream writes the arguments of its training scripts beside the language model's configuration; the tower's
is none of it, only its name on the hub.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

from libmoe.config.errors import ConfigError, nearest

LANGUAGES = {
    "llava_phi": ("phi3", "LlavaPhiForCausalLM"),
    "llava_smollm": ("llama", "LlavaSmollmForCausalLM"),
    "llava_llama": ("llama", "LlavaLlamaForCausalLM"),
    "llava_mistral": ("mistral", "LlavaMistralForCausalLM"),
}
"""Upstream's model types: transformers' type of the language model, upstream's class."""

MOE = {
    "moe_name": "name",
    "num_experts": "experts",
    "num_selected": "top_k",
    "balance_loss_coef": "balance_coefficient",
    "router_z_loss_coef": "z_coefficient",
    "std_gate": "router_std",
}
"""Upstream's key to our ``moe`` setting."""

WHERE = {"clip_smoe": "vision", "mlp_smoe": "connector"}

SUPPORTED: dict[str, tuple[Any, ...]] = {
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

ROPE = ("rope_theta", "rope_scaling", "partial_rotary_factor")
"""Position settings as the transformers of upstream's time spelled them."""


def unknown_keys(upstream: Mapping[str, Any]) -> list[str]:
    """Keys that are neither read nor left out on purpose."""
    known = {*MOE, *WHERE, *SUPPORTED, *IGNORED, *ROPE}
    known |= {"model_type", "mm_vision_tower", "scales", "dtype", "torch_dtype"}
    known |= set(language_class(upstream)().to_dict())
    return sorted(set(upstream) - known)


def language_class(upstream: Mapping[str, Any]) -> type[PreTrainedConfig]:
    """transformers' configuration class of the language model.

    Raises:
        ConfigError: the model type is none of upstream's.
    """
    model_type = str(upstream.get("model_type"))
    if model_type not in LANGUAGES:
        raise ConfigError(
            f"config.json is of model type {model_type!r}, which is none of upstream's: "
            f"{nearest(model_type, LANGUAGES)}"
        )
    return CONFIG_MAPPING[LANGUAGES[model_type][0]]


def language_keys(language: type[PreTrainedConfig]) -> set[str]:
    """The settings that are the language model's own."""
    every = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    return {field.name for field in dataclasses.fields(language)} - every

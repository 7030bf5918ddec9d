"""Upstream's ``config.json``, from our configuration."""

from typing import Any

import torch
from transformers import PreTrainedConfig

from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig
from libmoe.model.config import LibmoeConfig
from libmoe.model.interchange.keys import LANGUAGES, MOE, WHERE, language_keys
from libmoe.model.interchange.names import ROUTERS
from libmoe.model.interchange.towers import MODEL_TYPES

_OTHERWISE_THERE = ("xmoe", "smoe_plus_plus", "smoe_tcmoe")
"""Algorithms whose published form upstream's code does not compute."""


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
    _check_mixture(settings)
    fixed = {"vision_feature_layer": -2, "projector_hidden_act": "gelu"}
    for key, value in fixed.items():
        if getattr(config, key) != value:
            raise ConfigError(
                f"Upstream's model has {key} {value!r}, this one {getattr(config, key)!r}: "
                "it cannot be exported."
            )
    if config.vision_config.model_type not in MODEL_TYPES:
        raise ConfigError(
            f"Upstream's towers are {' and '.join(MODEL_TYPES)}, this model's is a "
            f"{config.vision_config.model_type}: it cannot be exported."
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
    values |= {key: part in mixed for key, part in WHERE.items()}
    if mixed:
        values |= {key: getattr(settings, setting) for key, setting in MOE.items()}
    return values


def _check_mixture(settings: MoEConfig) -> None:
    if settings.name == "none":
        return
    if settings.name not in ROUTERS or "language" in settings.where:
        raise ConfigError(
            f"Upstream has experts of {', '.join(ROUTERS)} in tower and connector; this model's are "
            f"{settings.name} in {', '.join(settings.where)}: it cannot be exported."
        )
    if settings.name in _OTHERWISE_THERE and settings.compat != "upstream":
        raise ConfigError(
            f"Upstream's {settings.name} is not the published one that this model was trained with: only "
            "models with moe.compat = upstream can be exported."
        )


def _language_to(text: PreTrainedConfig) -> dict[str, Any]:
    model_type = next((name for name, (kind, _) in LANGUAGES.items() if kind == text.model_type), None)
    if model_type is None:
        raise ConfigError(
            f"Upstream has no model around a language model of type {text.model_type!r}: only around "
            f"{', '.join(sorted({kind for kind, _ in LANGUAGES.values()}))}."
        )
    values = {key: value for key, value in text.to_dict().items() if key in language_keys(type(text))}
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

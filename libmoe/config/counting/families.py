"""What transformers' backbones consist of: one entry a ``model_type``, read by one set of formulas."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Bias = bool | str
"""Whether a linear layer has one; a string names the setting that says so."""


@dataclass(frozen=True)
class Family:
    """Where one kind of transformer differs from the others.

    Norms have one vector (RMSNorm) or two (LayerNorm). ``defaults`` are transformers' own values of settings
    that a preset may leave out.
    """

    query_bias: Bias = False
    """Of queries, keys and values."""
    output_bias: Bias = False
    mlp_bias: Bias = False
    gated: bool = True
    """y = down(act(gate(x)) * up(x)), rather than second(act(first(x)))."""
    norm_vectors: int = 1
    head_norms: bool = False
    """Queries and keys have a norm over each head."""
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VisionFamily(Family):
    """What a vision encoder has beside its layers."""

    patch_bias: bool = True
    class_tokens: int = 0
    first_norm: bool = False
    """A norm between embeddings and layers."""


_GROUPED = {"num_key_value_heads": None, "head_dim": None, "tie_word_embeddings": False}
_OPTIONAL_BIAS = _GROUPED | {"attention_bias": False, "mlp_bias": False}
_BIASED: dict[str, Any] = {
    "query_bias": True,
    "output_bias": True,
    "mlp_bias": True,
    "gated": False,
    "norm_vectors": 2,
}
_SQUARE = {"num_channels": 3, "image_size": 224, "patch_size": 16}

LANGUAGE = {
    "phi3": Family(defaults=_GROUPED),
    "llama": Family("attention_bias", "attention_bias", "mlp_bias", defaults=_OPTIONAL_BIAS),
    "mistral": Family(defaults=_GROUPED | {"num_key_value_heads": 8}),
    "qwen2": Family(query_bias=True, defaults=_GROUPED | {"num_key_value_heads": 32}),
    "qwen3": Family(
        "attention_bias",
        "attention_bias",
        head_norms=True,
        defaults=_GROUPED | {"num_key_value_heads": 32, "head_dim": 128, "attention_bias": False},
    ),
    "smollm3": Family(
        "attention_bias",
        "attention_bias",
        "mlp_bias",
        defaults=_OPTIONAL_BIAS | {"num_key_value_heads": 4, "tie_word_embeddings": True},
    ),
}
"""Decoders with rotary positions; the embeddings and the head are as wide as the layers."""

VISION = {
    "siglip_vision_model": VisionFamily(**_BIASED, defaults=_SQUARE),
    "siglip2_vision_model": VisionFamily(
        **_BIASED, defaults={"num_channels": 3, "patch_size": 16, "num_patches": 256}
    ),
    "clip_vision_model": VisionFamily(
        **_BIASED,
        patch_bias=False,
        class_tokens=1,
        first_norm=True,
        defaults=_SQUARE | {"patch_size": 32, "hidden_act": "quick_gelu"},
    ),
}
"""Encoders with learnt positions, read before their last norm."""

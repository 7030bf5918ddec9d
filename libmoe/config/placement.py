"""Which layers of a model get experts."""

from typing import Literal

from libmoe.config.errors import ConfigError
from libmoe.config.layer_choice import chosen_layers
from libmoe.config.schema import ModelConfig, MoEConfig


def layers_with_experts(moe: MoEConfig, part: Literal["vision", "language"], count: int) -> list[int]:
    """Which of a part's ``count`` layers get experts, ascending.

    Raises:
        ConfigError: layers are chosen that are not there, or of a part that gets no experts.
    """
    choice = getattr(moe.layers, part)
    if moe.name == "none":
        return []
    if part in moe.where:
        return chosen_layers(choice, count, f"moe.layers.{part}")
    if choice != "all":
        raise ConfigError(
            f"moe.layers.{part} chooses layers of a part that gets no experts: add {part!r} to moe.where."
        )
    return []


def tower_depth(built: int, feature_layer: int) -> int:
    """How many of a tower's layers are computed: those before the hidden state that is read.

    Raises:
        ConfigError: the tower has no such hidden state.
    """
    depth = feature_layer if feature_layer >= 0 else built + 1 + feature_layer
    if not 0 <= depth <= built:
        raise ConfigError(
            f"model.vision_feature_layer is {feature_layer}, but the tower has {built} layers: "
            f"choose -{built + 1} to {built}, or -2, which most models read."
        )
    return depth


def check_placement(model: ModelConfig, moe: MoEConfig) -> None:
    """Whether ``moe.layers`` and ``model.vision_feature_layer`` name layers that there are, as far as the
    settings say how many.

    Raises:
        ConfigError: see ``layers_with_experts`` and ``tower_depth``.
    """
    built = model.vision.config.get("num_hidden_layers")
    spoken = model.language.config.get("num_hidden_layers")
    if built is not None:
        layers_with_experts(moe, "vision", tower_depth(built, model.vision_feature_layer))
    if spoken is not None:
        layers_with_experts(moe, "language", spoken)

"""Which layers of a part get experts: all, a list, a range or every n-th."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator

from libmoe.config.errors import ConfigError

if TYPE_CHECKING:
    from libmoe.config.schema import ModelConfig, MoEConfig

_FORMS = 'one of "all", a list such as [0, 2, 5], a range such as "4-11" (both included), or "every 2"'
_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")
_EVERY = re.compile(r"every\s+([1-9]\d*)")


def _known_form(value: object) -> object:
    if isinstance(value, str) and (value == "all" or _RANGE.fullmatch(value) or _EVERY.fullmatch(value)):
        return value
    if isinstance(value, list | tuple) and value and all(type(n) is int and n >= 0 for n in value):
        return value
    raise ValueError(f"layers are {_FORMS}")


LayerChoice = Annotated[str | tuple[int, ...], BeforeValidator(_known_form)]
"""``"all"``, ``[0, 2, 5]``, ``"4-11"`` or ``"every 2"`` (layers 0, 2, 4, ...); layers count from 0."""


def chosen_layers(choice: LayerChoice, count: int, setting: str) -> list[int]:
    """The chosen layers of ``count``, ascending.

    Args:
        setting: names the choice in errors, as ``moe.layers.vision``.

    Raises:
        ConfigError: the choice names a layer that is not there.
    """
    chosen = _spelled_out(choice, count) if isinstance(choice, str) else sorted(set(choice))
    if not chosen or chosen[-1] >= count:
        raise ConfigError(
            f"{setting} is {choice if isinstance(choice, str) else list(choice)}, but the layers that are "
            f"computed are 0 to {count - 1}: choose among those."
        )
    return chosen


def layers_with_experts(moe: "MoEConfig", part: Literal["vision", "language"], count: int) -> list[int]:
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


def check_placement(model: "ModelConfig", moe: "MoEConfig") -> None:
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


def _spelled_out(choice: str, count: int) -> list[int]:
    if span := _RANGE.fullmatch(choice):
        return list(range(int(span[1]), int(span[2]) + 1))
    step = _EVERY.fullmatch(choice)
    return list(range(0, count, int(step[1]) if step else 1))

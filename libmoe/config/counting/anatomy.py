"""The whole model in neutral terms: what every count is made from, read off the settings alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import TypeVar

from libmoe.config.counting.families import LANGUAGE, VISION, Family
from libmoe.config.counting.linear import Linear
from libmoe.config.counting.stack import Mixture, Stack, complete, make_stack, mixture, size
from libmoe.config.errors import ConfigError, nearest
from libmoe.config.placement import layers_with_experts, tower_depth
from libmoe.config.schema import ModelConfig, MoEConfig

_F = TypeVar("_F", bound=Family)


@dataclass(frozen=True)
class Vision:
    """The tower, as deep as it is read."""

    stack: Stack
    patch: Linear
    patches: int
    """Of one tile."""
    class_tokens: int
    others: int
    """Parameters of positions, class token and first norm."""
    tiles: int
    """Of one image, over all scales."""

    @property
    def tokens(self) -> int:
        """Of one tile."""
        return self.patches + self.class_tokens


@dataclass(frozen=True)
class Connector:
    """Linear, activation, linear; or a mixture of such."""

    mlp: tuple[Linear, Linear]
    mixture: Mixture | None


@dataclass(frozen=True)
class Language:
    """The decoder and its head."""

    stack: Stack
    head: Linear
    tied: bool
    """The head is the embeddings' own matrix."""
    others: int
    """Parameters of the last norm."""


@dataclass(frozen=True)
class Anatomy:
    """All parts."""

    vision: Vision
    connector: Connector
    language: Language

    @property
    def image_tokens(self) -> int:
        """How many tokens of the language model stand for one image."""
        return self.vision.patches


def anatomy(model: ModelConfig, moe: MoEConfig) -> Anatomy:
    """What the settings describe.

    Raises:
        ConfigError: a model type or a routing algorithm is not known here, or a size is not given.
    """
    vision, language = _vision(model, moe), _language(model, moe)
    width = language.stack.width
    mlp = (Linear(vision.stack.width * len(model.scales), width, True), Linear(width, width, True))
    mixed = moe.name != "none" and "connector" in moe.where
    return Anatomy(vision, Connector(mlp, mixture(mlp, moe, 0) if mixed else None), language)


def _vision(model: ModelConfig, moe: MoEConfig) -> Vision:
    family = _family(VISION, model.vision.config, "vision")
    values = complete(model.vision.config, family)
    layers = tower_depth(size(values, "vision", "num_hidden_layers"), model.vision_feature_layer)
    stack = make_stack(values, family, "vision", moe, layers, layers_with_experts(moe, "vision", layers))
    side = values["patch_size"]
    grid = isqrt(values["num_patches"]) if "num_patches" in values else values["image_size"] // side
    patches = grid * grid
    positions = values.get("num_patches", patches) + family.class_tokens
    norm = family.norm_vectors * stack.width if family.first_norm else 0
    return Vision(
        stack=stack,
        patch=Linear(values["num_channels"] * side * side, stack.width, family.patch_bias),
        patches=patches,
        class_tokens=family.class_tokens,
        others=(positions + family.class_tokens) * stack.width + norm,
        tiles=sum(scale * scale for scale in model.scales),
    )


def _language(model: ModelConfig, moe: MoEConfig) -> Language:
    family = _family(LANGUAGE, model.language.config, "language")
    values = complete(model.language.config, family)
    layers = size(values, "language", "num_hidden_layers")
    stack = make_stack(values, family, "language", moe, layers, layers_with_experts(moe, "language", layers))
    return Language(
        stack=stack,
        head=Linear(stack.width, size(values, "language", "vocab_size")),
        tied=values["tie_word_embeddings"],
        others=family.norm_vectors * stack.width,
    )


def _family(families: Mapping[str, _F], config: Mapping[str, object], part: str) -> _F:
    model_type = str(config.get("model_type"))
    if model_type not in families:
        raise ConfigError(
            f"Parameters and operations of model.{part}.config.model_type {model_type!r} are not known: "
            f"{nearest(model_type, families)}"
        )
    return families[model_type]

"""What a checkpoint's ``config.json`` says: LLaVA's settings, the scales of vision features, the experts."""

from collections.abc import Mapping
from math import isqrt
from typing import Any

from huggingface_hub.dataclasses import strict
from pydantic import ValidationError
from transformers import LlavaConfig

from libmoe.config.errors import ConfigError
from libmoe.config.placement import tower_depth
from libmoe.config.saved import MODEL_TYPE
from libmoe.config.schema import MoEConfig


@strict
class LibmoeConfig(LlavaConfig):
    """transformers' ``LlavaConfig`` plus what libmoe adds.

    Args:
        scales: multiples of the tower's image size at which an image is looked at.
        moe: ``libmoe.config.schema.MoEConfig`` as a dictionary; None or the name "none" is a dense model.
    """

    model_type = MODEL_TYPE

    scales: list[int] | tuple[int, ...] = (1,)
    moe: dict[str, Any] | None = None

    def validate_scales(self) -> None:
        """``strict`` calls it."""
        if not self.scales or min(self.scales) < 1:
            raise ValueError(f"scales are whole numbers from 1 on, one at least, not {list(self.scales)}")

    @property
    def moe_settings(self) -> MoEConfig:
        """The typed form of ``moe``.

        Raises:
            ConfigError: ``moe`` holds a setting or a value that there is not.
        """
        try:
            return MoEConfig.model_validate(self.moe or {})
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(["moe", *map(str, problem["loc"])])
            raise ConfigError(f"The model's configuration says {key} wrong: {problem['msg']}.") from error

    @property
    def pixels(self) -> int:
        """Side of the square images that the model takes: the largest scale's."""
        return self.tile * max(self.scales)

    @property
    def tile(self) -> int:
        """Side of the square images that the tower takes."""
        return tile_side(self.vision_config.to_dict())

    @property
    def grid(self) -> int:
        """Side of the square of tokens that stand for one image."""
        return self.tile // self.vision_config.patch_size

    @property
    def vision_layers(self) -> int:
        """How many of the tower's layers are computed: those before the hidden state that is read."""
        return tower_depth(self.vision_config.num_hidden_layers, self.vision_feature_layer)


def tile_side(vision: Mapping[str, Any]) -> int:
    """Side in pixels of the square images that a tower takes, from its configuration's values.

    A tower for any shape (NaFlex, arXiv:2502.14786) is given the square that its position embeddings make.
    """
    if "num_patches" in vision:
        return isqrt(vision["num_patches"]) * vision["patch_size"]
    return vision["image_size"]

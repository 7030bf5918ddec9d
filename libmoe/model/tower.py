"""The vision tower: any transformers vision encoder, built only as deep as its features are read."""

import copy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from libmoe.config.errors import ConfigError
from libmoe.model.backbones import build_backbone
from libmoe.model.config import LibmoeConfig


def build_tower(config: LibmoeConfig) -> PreTrainedModel:
    """The encoder without the layers, final norm and pooling head that nothing reads.

    Its ``last_hidden_state`` is then the hidden state that ``config.vision_feature_layer`` names.

    Raises:
        ConfigError: transformers cannot build the encoder, or not as SigLIP's and CLIP's are.
    """
    vision = copy.deepcopy(config.vision_config)
    vision.num_hidden_layers = config.vision_layers
    vision.vision_use_head = False
    tower = build_backbone(vision, "vision")
    parts = dict(tower.named_modules())
    if "encoder.layers" not in parts or "post_layernorm" not in parts:
        raise ConfigError(
            f"{type(tower).__name__} cannot be the tower, which has to be layers and a post_layernorm as "
            "SigLIP and CLIP are: choose another model.vision.config.model_type."
        )
    tower.post_layernorm = nn.Identity()
    return tower


def check_tower(config: LibmoeConfig) -> None:
    """Whether the tower can see a tile at all: its shapes alone are computed.

    Raises:
        ConfigError: its sizes contradict each other, or it sees no colours.
    """
    side = config.tile
    try:
        with torch.device("meta"):
            patch_features(build_tower(config), torch.empty(1, 3, side, side), config.grid)
    except (RuntimeError, TypeError, ValueError) as error:
        told = str(error).splitlines()[0]
        raise ConfigError(
            f"The tower cannot see {side} x {side} pixels of three colours ({told}): correct image_size, "
            "patch_size, num_patches or num_channels in model.vision.config."
        ) from error


def patch_features(tower: PreTrainedModel, tiles: Tensor, grid: int) -> Tensor:
    """``(N, 3, H, W)`` tiles to ``(N, grid * grid, D)`` patch features; leading class tokens are left out.

    For N = 0 a blank tile is computed and dropped: every rank has to call the tower in every step, and
    transformers' attention does not take an empty batch. A frozen tower leaves no graph behind, also where
    hooks ask its embeddings for gradients.
    """
    images = tiles if len(tiles) else tiles.new_zeros(1, *tiles.shape[1:])
    learns = tiles.requires_grad or any(parameter.requires_grad for parameter in tower.parameters())
    with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
        hidden = _last_hidden_state(tower, images, grid)[: len(tiles)]
        return hidden[:, hidden.shape[1] - grid * grid :]


def _last_hidden_state(tower: PreTrainedModel, images: Tensor, grid: int) -> Tensor:
    if tower.config.model_type != "siglip2_vision_model":
        return tower(images).last_hidden_state
    shape_N2 = torch.full((len(images), 2), grid, device="cpu")  # stays on the host, which reads it
    return tower(_flat_patches(images, grid), None, shape_N2).last_hidden_state


def _flat_patches(images: Tensor, grid: int) -> Tensor:
    """``(N, C, G*p, G*p)`` to ``(N, G*G, p*p*C)``: patches row by row, within each the channels last."""
    patches = images.unflatten(3, (grid, -1)).unflatten(2, (grid, -1))  # (N, C, G, p, G, p)
    return patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

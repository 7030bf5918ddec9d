"""The vision tower: any transformers vision encoder, built only as deep as its features are read."""

import copy

from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from libmoe.model.config import LibmoeConfig


def build_tower(config: LibmoeConfig) -> PreTrainedModel:
    """The encoder without the layers, final norm and pooling head that nothing reads.

    Its ``last_hidden_state`` is then the hidden state that ``config.vision_feature_layer`` names.
    """
    vision = copy.deepcopy(config.vision_config)
    vision.num_hidden_layers = config.vision_layers
    vision.vision_use_head = False
    tower = AutoModel.from_config(vision)
    tower.post_layernorm = nn.Identity()
    return tower


def patch_features(tower: PreTrainedModel, tiles: Tensor, grid: int) -> Tensor:
    """``(N, 3, H, W)`` tiles to ``(N, grid * grid, D)`` patch features; leading class tokens are left out.

    For N = 0 a blank tile is computed and dropped: every rank has to call the tower in every step, and
    transformers' attention does not take an empty batch.
    """
    blank = tiles.new_zeros(1, *tiles.shape[1:])
    hidden = tower(tiles if len(tiles) else blank).last_hidden_state[: len(tiles)]
    return hidden[:, hidden.shape[1] - grid * grid :]

"""The tower that is built against transformers' whole one."""

from typing import Any

import pytest
import torch
from transformers import AutoModel, CLIPVisionConfig, Phi3Config, PreTrainedConfig, SiglipVisionConfig

from libmoe.model.config import LibmoeConfig
from libmoe.model.tower import build_tower, patch_features

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
TEXT = Phi3Config(
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    vocab_size=32,
    pad_token_id=0,
)


@pytest.mark.parametrize("vision", [SiglipVisionConfig(**SIZES), CLIPVisionConfig(**SIZES)])
@pytest.mark.parametrize(("layer", "built"), [(-2, 3), (-1, 4), (2, 2)])
def test_features_are_the_hidden_state_of_the_whole_tower(
    vision: PreTrainedConfig, layer: int, built: int
) -> None:
    config = LibmoeConfig(vision_config=vision, text_config=TEXT, vision_feature_layer=layer)
    torch.manual_seed(0)
    whole = AutoModel.from_config(vision).eval()
    tower = build_tower(config).eval()
    assert len(tower.encoder.layers) == built
    own = tower.state_dict()
    tower.load_state_dict({name: value for name, value in whole.state_dict().items() if name in own})
    assert not [name for name in own if "head" in name or "post_layernorm" in name]
    pixels = torch.randn(2, 3, 28, 28)
    expected = whole(pixels, output_hidden_states=True).hidden_states[layer][:, -4:]
    torch.testing.assert_close(patch_features(tower, pixels, config.grid), expected)
    assert config.vision_config.num_hidden_layers == 4


def test_no_tile_still_passes_through_every_layer() -> None:
    config = LibmoeConfig(vision_config=SiglipVisionConfig(**SIZES), text_config=TEXT)
    tower = build_tower(config)
    features = patch_features(tower, torch.empty(0, 3, 28, 28), config.grid)
    assert features.shape == (0, 4, 32)
    features.sum().backward()
    assert all(not parameter.grad.any() for parameter in tower.parameters())

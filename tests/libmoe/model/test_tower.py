"""The tower that is built against transformers' whole one."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    CLIPVisionConfig,
    Phi3Config,
    PreTrainedConfig,
    Siglip2VisionConfig,
    SiglipVisionConfig,
)
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from libmoe.config.errors import ConfigError
from libmoe.model.config import LibmoeConfig
from libmoe.model.tower import build_tower, check_tower, patch_features

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


def test_a_tower_for_any_shape_sees_what_its_own_processor_shows_it() -> None:
    sizes = {key: value for key, value in SIZES.items() if key != "image_size"}
    vision = Siglip2VisionConfig(**sizes, num_patches=9)
    config = LibmoeConfig(vision_config=vision, text_config=TEXT, vision_feature_layer=-1)
    assert (config.tile, config.grid) == (42, 3)
    torch.manual_seed(0)
    whole = AutoModel.from_config(vision).eval()
    tower = build_tower(config).eval()
    own = tower.state_dict()
    tower.load_state_dict({name: value for name, value in whole.state_dict().items() if name in own})
    images = torch.randint(0, 256, (2, 3, 42, 42), dtype=torch.uint8)
    processor = Siglip2ImageProcessorPil(patch_size=14, max_num_patches=9)
    inputs = processor(list(images.numpy()), input_data_format="channels_first", return_tensors="pt")
    expected = whole(**inputs, output_hidden_states=True).hidden_states[-1]
    pixels = images / 127.5 - 1
    torch.testing.assert_close(patch_features(tower, pixels, config.grid), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("vision", "side"),
    [
        (SiglipVisionConfig(**SIZES, num_patches=10), 42),  # which a tower for any shape left in the settings
        (Siglip2VisionConfig(hidden_size=32, num_attention_heads=4, num_patches=10, patch_size=14), 42),
        (CLIPVisionConfig(**SIZES, num_channels=1), 28),
    ],
)
def test_sizes_that_contradict_each_other_are_told_before_anything_is_computed(
    vision: PreTrainedConfig, side: int
) -> None:
    config = LibmoeConfig(vision_config=vision, text_config=TEXT)
    with pytest.raises(ConfigError, match=f"cannot see {side} x {side} pixels .* correct image_size"):
        check_tower(config)


def test_every_tower_that_works_passes_the_check() -> None:
    sizes = {key: value for key, value in SIZES.items() if key != "image_size"}
    for vision in (
        SiglipVisionConfig(**SIZES),
        CLIPVisionConfig(**SIZES),
        Siglip2VisionConfig(**sizes, num_patches=9),
    ):
        check_tower(LibmoeConfig(vision_config=vision, text_config=TEXT))

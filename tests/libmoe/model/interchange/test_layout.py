"""Names and shapes for the real sizes and the other tower."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from libmoe.model.config import LibmoeConfig
from libmoe.model.interchange.incoming import from_upstream
from libmoe.model.interchange.layout import Layout
from libmoe.model.interchange.outgoing import to_upstream
from libmoe.model.interchange.towers import Tower, named_tower, tower_name

from .conftest import VISION, settings

PHI_ROPE = {"type": "longrope", "long_factor": [1.1] * 48, "short_factor": [1.0] * 48}
PHI = {
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096,
    "rope_theta": 10000.0,
    "rope_scaling": PHI_ROPE,
}
SIGLIP = "google/siglip-so400m-patch14-224"


def released(algorithm: str) -> LibmoeConfig:
    upstream = settings(algorithm) | PHI | {"mm_vision_tower": SIGLIP, "num_experts": 6}
    return from_upstream(upstream, named_tower(SIGLIP), 32011, torch.bfloat16)


def test_the_released_models_have_upstreams_shapes() -> None:
    layout = Layout(released("smoe"))
    place = layout.places["model.vision_tower.encoder.layers.25.mlp.experts.fc1.weight"]
    assert (
        place.upstream[5] == "model.vision_tower.vision_model.encoder.layers.25.moelayer.experts.5.fc1.weight"
    )
    assert place.upstream_shape == (4304, 1152)
    gate = layout.places["model.multi_modal_projector.router.weight"]
    assert (gate.upstream, gate.shape) == (("model.mm_projector.moelayer.gate.weight",), (6, 2304))
    last = {name for name in layout.unread if ".layers.26." in name}
    assert last == set(layout.unread)
    assert len(last) == 6 * 4 + 1 + 12


def test_square_connectors_hold_what_the_towers_layers_do() -> None:
    tower = Tower({"model_type": "siglip_vision_model", **VISION})
    unread = {
        width: {name for name in _unread(tower, width) if name.startswith("model.mm_projector.")}
        for width in (32, 40)
    }
    assert unread == {32: {"model.mm_projector.moelayer.gate_transform.weight"}, 40: set()}


def _unread(tower: Tower, hidden_size: int) -> set[str]:
    upstream = settings("smoe_plus_plus") | {"hidden_size": hidden_size}
    return set(Layout(from_upstream(upstream, tower, 600, torch.float32)).unread)


def test_long_positions_survive() -> None:
    config = released("smoe")
    rope = config.text_config.rope_parameters
    assert (rope["rope_type"], rope["long_factor"]) == ("longrope", [1.1] * 48)
    written = to_upstream(config, SIGLIP, pad=True)
    assert written["rope_scaling"] == PHI_ROPE
    assert (written["rope_theta"], written["original_max_position_embeddings"]) == (10000.0, 4096)


def test_a_presets_tower_is_known_by_its_shape() -> None:
    assert tower_name(released("smoe").vision_config) == SIGLIP


@pytest.mark.parametrize("algorithm", [None, "smoe"])
def test_clip_towers_have_a_place(algorithm: str | None, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision = {**sizes, "image_size": 28, "patch_size": 14}
    tower = Tower({"model_type": "clip_vision_model", **vision})
    layout = Layout(from_upstream(settings(algorithm), tower, 600, torch.float32))
    held = {name for place in layout.places.values() for name in place.upstream} | set(layout.unread)
    real = CLIPVisionModel(CLIPVisionConfig(**vision)).state_dict()
    kept = {n for n in real if not n.startswith("post_layernorm") and (algorithm is None or ".mlp." not in n)}
    assert {f"model.vision_tower.vision_model.{name}" for name in kept} <= held

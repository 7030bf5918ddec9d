"""The configurations of tower and language model, from settings and from what weights ship with."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

from libmoe.config.errors import ConfigError
from libmoe.config.layers import resolve
from libmoe.config.schema import BackboneConfig
from libmoe.model.backbones import backbone_config, shipped_config
from libmoe.model.config import LibmoeConfig
from libmoe.model.connector import Connector

# As Phi-3.5-mini ships, with heads of 32 channels.
LONGROPE: dict[str, Any] = {
    "architectures": ["Phi3ForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"},
    "model_type": "phi3",
    "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"type": "longrope", "short_factor": [1.5] * 16, "long_factor": [9.0] * 16},
    "rope_theta": 10000.0,
    "sliding_window": 262144,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.3",
    "hidden_size": 3072,
}


@pytest.fixture
def language() -> BackboneConfig:
    sizes = resolve("sft", "tiny", []).config.model.language.config
    kept = {key: value for key, value in sizes.items() if key != "max_position_embeddings"}
    return BackboneConfig(weights="m/phi", config=kept)


def test_position_scaling_comes_with_the_weights_and_sizes_from_the_settings(
    language: BackboneConfig,
) -> None:
    config = backbone_config(language, LONGROPE)
    assert config.hidden_size == 128
    assert config.sliding_window == 262144
    assert config.dtype is None
    assert not hasattr(config, "auto_map")
    plain = AutoModel.from_config(backbone_config(language, {})).rotary_emb.inv_freq
    scaled = AutoModel.from_config(config).rotary_emb.inv_freq
    torch.testing.assert_close(scaled, plain / 1.5)


def test_a_tower_is_found_inside_its_composite_model() -> None:
    settings = BackboneConfig(
        weights="g/siglip", config={"model_type": "siglip_vision_model", "hidden_size": 32}
    )
    vision = {"model_type": "siglip_vision_model", "hidden_size": 1152, "num_hidden_layers": 5}
    config = backbone_config(settings, {"model_type": "siglip", "vision_config": vision})
    assert (config.hidden_size, config.num_hidden_layers) == (32, 5)


def test_an_unknown_model_type_is_told() -> None:
    settings = BackboneConfig(config={"model_type": "phi33"})
    with pytest.raises(ConfigError, match="cannot make a 'phi33' configuration"):
        backbone_config(settings, {})


def test_no_configuration_beside_the_weights(tmp_path: Path) -> None:
    assert shipped_config(None) == {}
    assert shipped_config(tmp_path) == {}
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}))
    assert shipped_config(tmp_path) == {"a": 1}


def test_a_name_that_transformers_would_keep_and_never_read_is_refused(language: BackboneConfig) -> None:
    settings = language.model_copy(update={"config": {**language.config, "hiden_size": 64}})
    with pytest.raises(
        ConfigError, match="'hiden_size' of a 'phi3' configuration: did you mean 'hidden_size'"
    ):
        backbone_config(settings, {})
    older = language.model_copy(update={"config": {**language.config, "rope_theta": 5e5}})
    assert backbone_config(older, {}).rope_parameters["rope_theta"] == 5e5


def test_an_activation_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"model\.connector_activation 'gelluu': did you mean 'gelu'"):
        Connector(LibmoeConfig(projector_hidden_act="gelluu"))

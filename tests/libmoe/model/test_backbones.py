"""The configurations of tower and language model, from settings and from what weights ship with."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

from libmoe.config.errors import ConfigError, DataError
from libmoe.config.layers import resolve
from libmoe.config.schema import BackboneConfig
from libmoe.model.backbones import backbone_config, build_backbone, shipped_config
from libmoe.model.config import LibmoeConfig
from libmoe.model.connector import Connector
from libmoe.model.head import check_head

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
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.fixture
def language() -> BackboneConfig:
    sizes = resolve("sft", "tiny", []).config.model.language.config
    kept = {key: value for key, value in sizes.items() if key != "max_position_embeddings"}
    return BackboneConfig(weights="m/phi", config=kept)


def test_position_scaling_comes_with_the_weights(language: BackboneConfig) -> None:
    config = backbone_config(language, LONGROPE)
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
    vision = {"model_type": "siglip_vision_model", "hidden_size": 32, "num_hidden_layers": 5}
    config = backbone_config(settings, {"model_type": "siglip", "vision_config": vision})
    assert (config.hidden_size, config.num_hidden_layers) == (32, 5)


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        ({"num_attention_heads": 2}, "num_attention_heads is 2 in its weights, but 4"),
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3 in its weights, but 2"),
    ],
)
def test_weights_of_other_sizes_are_refused_also_where_shapes_agree(
    language: BackboneConfig, theirs: dict[str, int], told: str
) -> None:
    shipped = {key: value for key, value in LONGROPE.items() if key != "rope_scaling"}
    with pytest.raises(ConfigError, match=told):
        backbone_config(language, shipped | theirs)


def test_what_another_backbone_left_in_the_settings_is_refused() -> None:
    """SigLIP's activation, which its config.json does not name, is not the one of the preset's CLIP."""
    sizes = {"model_type": "siglip_vision_model", "hidden_size": 32}
    settings = BackboneConfig(weights="g/siglip", config={**sizes, "hidden_act": "quick_gelu"})
    with pytest.raises(ConfigError, match='hidden_act is "gelu_pytorch_tanh" in the weights g/siglip'):
        backbone_config(settings, sizes, "the weights g/siglip")
    tied = BackboneConfig(config={"model_type": "llama", "tie_word_embeddings": True})
    with pytest.raises(ConfigError, match="tie_word_embeddings is false in its weights, but true"):
        backbone_config(tied, {"model_type": "llama"})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rms_norm_eps": "small"}, "'rms_norm_eps' expected float"),
        ({"rope_scaling": "long"}, "'rope_parameters' with value 'long'"),
        ({"hidden_act": "silluu"}, "KeyError: 'silluu'"),
        ({"pad_token_id": 5000}, "Padding_idx must be within"),
    ],
)
def test_what_transformers_does_not_take_is_one_sentence(
    language: BackboneConfig, changes: dict[str, Any], told: str
) -> None:
    settings = language.model_copy(update={"config": {**language.config, **changes}})
    with pytest.raises(ConfigError, match=told) as caught:
        build_backbone(backbone_config(settings, {}), "language")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["granite", "cohere", "gemma2", "phi"])
def test_a_head_that_does_more_than_multiply_is_refused(language: BackboneConfig, kind: str) -> None:
    own = {"granite": {"logits_scaling": 8.0}}.get(kind, {})
    config = backbone_config(BackboneConfig(config={**language.config, "model_type": kind, **own}), {})
    with pytest.raises(ConfigError, match=f"A {kind} scales, caps or shifts its logits"):
        check_head(config)


def test_plain_heads_of_causal_language_models_pass(language: BackboneConfig) -> None:
    check_head(backbone_config(language, LONGROPE))
    for kind in ("llama", "qwen3", "mistral", "gemma", "granite"):  # this Granite's logits are divided by 1
        check_head(backbone_config(BackboneConfig(config={**language.config, "model_type": kind}), {}))
    with pytest.raises(ConfigError, match="A siglip_vision_model is no causal language model"):
        check_head(backbone_config(BackboneConfig(config={"model_type": "siglip_vision_model"}), {}))


def test_a_damaged_configuration_beside_the_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json is damaged"):
        shipped_config(tmp_path)


def test_an_unknown_model_type_is_told() -> None:
    settings = BackboneConfig(config={"model_type": "phi33"})
    with pytest.raises(ConfigError, match="no model_type 'phi33': did you mean 'phi3'"):
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

"""Where weights come from, and that nothing is lost on the way."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    CLIPConfig,
    CLIPModel,
    Phi3Config,
    SiglipConfig,
    SiglipModel,
)

from libmoe.config.errors import ConfigError, DataError
from libmoe.config.run import RunSpec
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import build_model
from libmoe.model.checkpoint import load_checkpoint
from libmoe.model.processor import build_processor
from libmoe.model.tensor_files import read_checkpoint, read_weights

MakeSpec = Callable[..., RunSpec]
Save = Callable[[LibmoeForConditionalGeneration], Path]


def state(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


def assert_same(one: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(state(one), state(other), rtol=0, atol=0)


@pytest.fixture
def save(make_spec: MakeSpec, tmp_path: Path) -> Save:
    """Saves a model with its processor and returns the folder."""

    def to_folder(model: LibmoeForConditionalGeneration) -> Path:
        folder = tmp_path / "saved"
        model.save_pretrained(folder)
        spec = make_spec("sft")
        build_processor(spec.config, spec.models_dir).save_pretrained(folder)
        return folder

    return to_folder


def test_a_saved_model_comes_back_bit_for_bit(moe_model: LibmoeForConditionalGeneration, save: Save) -> None:
    with torch.no_grad():
        for parameter in moe_model.parameters():
            parameter.add_(torch.randn_like(parameter))
    folder = save(moe_model)
    assert_same(AutoModelForImageTextToText.from_pretrained(folder), moe_model)
    assert_same(load_checkpoint(folder)[0], moe_model)


def test_a_stage_starts_from_the_previous_one(
    make_spec: MakeSpec, save: Save, dense_model: LibmoeForConditionalGeneration
) -> None:
    with torch.no_grad():
        dense_model.lm_head.weight.add_(1)
        dense_model.model.multi_modal_projector.linear_1.weight.add_(1)
    folder = save(dense_model)
    assert_same(build_model(make_spec("pft", init_from=folder)), dense_model)
    upcycled = build_model(make_spec("sft", init_from=folder))
    expected = dense_model.model.multi_modal_projector.linear_1.weight
    stacked = upcycled.model.multi_modal_projector.experts.linear_1.weight
    assert all(torch.equal(stacked[e], expected) for e in range(6))


def test_a_mixture_starts_a_mixture_as_it_is(
    make_spec: MakeSpec, save: Save, moe_model: LibmoeForConditionalGeneration
) -> None:
    with torch.no_grad():
        for layer in moe_model.moe_layers():
            layer.router.weight.add_(1)
    assert_same(build_model(make_spec("sft", init_from=save(moe_model))), moe_model)


def test_upcycled_experts_own_their_memory(moe_model: LibmoeForConditionalGeneration) -> None:
    stacked = moe_model.model.multi_modal_projector.experts.linear_1.weight
    with torch.no_grad():
        stacked[0].zero_()
    assert stacked[1].any()


def test_random_starts_depend_on_the_seed_alone(make_spec: MakeSpec) -> None:
    first = build_model(make_spec("sft"))
    torch.rand(3)
    assert_same(build_model(make_spec("sft")), first)
    other = state(build_model(make_spec("sft", seed=43)))
    for name in ("model.vision_tower.encoder.layers.0.mlp.router.weight", "lm_head.weight"):
        assert not torch.equal(other[name], state(first)[name])


def test_what_upcycling_draws_has_a_seed_of_its_own(make_spec: MakeSpec) -> None:
    moe = {"seed": 3, "expert_noise": 0.1, "redrawn": 0.2}
    one, other = (build_model(make_spec("sft", {"moe": moe}, seed=seed)) for seed in (42, 43))
    router = "multi_modal_projector.router.weight"
    assert torch.equal(one.model.state_dict()[router], other.model.state_dict()[router])
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    plain = state(build_model(make_spec("sft", {"moe": {"seed": 3}})))
    stacked = "model.multi_modal_projector.experts.linear_1.weight"
    assert torch.equal(plain[stacked][0], plain[stacked][1])
    assert not torch.equal(state(one)[stacked][0], state(one)[stacked][1])


def test_building_leaves_the_global_generator_alone(make_spec: MakeSpec) -> None:
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    build_model(make_spec("pft"))
    assert torch.equal(torch.rand(1), expected)


def test_bf16_runs_have_bf16_weights(make_spec: MakeSpec) -> None:
    model = build_model(make_spec("sft", {"train": {"precision": "bf16"}}))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_another_number_of_experts_is_told_with_both_shapes(
    make_spec: MakeSpec, save: Save, moe_model: LibmoeForConditionalGeneration
) -> None:
    folder = save(moe_model)
    with pytest.raises(ConfigError) as caught:
        build_model(make_spec("sft", {"moe": {"experts": 4}}, init_from=folder))
    message = str(caught.value)
    assert str(folder) in message
    assert "model.vision_tower.encoder.layers.0.mlp.experts.fc1.weight" in message
    assert "(6, 128, 64)" in message
    assert "(4, 128, 64)" in message


def test_a_mixture_is_no_dense_model(
    make_spec: MakeSpec, save: Save, moe_model: LibmoeForConditionalGeneration
) -> None:
    folder = save(moe_model)
    with pytest.raises(
        ConfigError, match=r"lacks the tensor model\.vision_tower\.encoder\.layers\.0\.mlp\.fc1"
    ):
        build_model(make_spec("pft", init_from=folder))


def test_a_tensor_too_many_is_told(
    make_spec: MakeSpec, save: Save, dense_model: LibmoeForConditionalGeneration
) -> None:
    folder = save(dense_model)
    file = folder / "model.safetensors"
    save_file({**load_file(file), "model.extra": torch.zeros(2)}, file, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"tensor model\.extra \(2,\), which this model does not have"):
        build_model(make_spec("pft", init_from=folder))


def test_from_pretrained_wants_every_tensor(moe_model: LibmoeForConditionalGeneration, save: Save) -> None:
    folder = save(moe_model)
    file = folder / "model.safetensors"
    kept = {name: value for name, value in load_file(file).items() if "router" not in name}
    save_file(kept, file, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks the tensor .*router"):
        AutoModelForImageTextToText.from_pretrained(folder)


def test_damaged_weights_are_bad_data(moe_model: LibmoeForConditionalGeneration, save: Save) -> None:
    folder = save(moe_model)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        load_checkpoint(folder)


@pytest.fixture
def released(volume: Path, make_spec: MakeSpec, tmp_path: Path) -> RunSpec:
    """A run whose base weights lie as the hubs have them: a whole SigLIP, a causal Phi-3 in shards."""
    data = tmp_path / "volume"
    shutil.copytree(volume / "models", data / "models")
    run = make_spec("pretrain").config
    torch.manual_seed(1)
    sizes = {key: value for key, value in run.model.vision.config.items() if key != "model_type"}
    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    siglip = SiglipModel(SiglipConfig(vision_config=sizes, text_config={**text, "vocab_size": 20}))
    siglip.save_pretrained(data / "models" / "g" / "siglip")
    language = {key: value for key, value in run.model.language.config.items() if key != "model_type"}
    phi = AutoModelForCausalLM.from_config(Phi3Config(**language, rope_theta=50_000.0))
    phi.save_pretrained(data / "models" / "m" / "phi", max_shard_size="500KB")
    assert (data / "models" / "m" / "phi" / "model.safetensors.index.json").exists()
    settings = {"model": {"vision": {"weights": "g/siglip"}, "language": {"weights": "m/phi"}}}
    return make_spec("pretrain", settings).model_copy(update={"data_dir": data})


def test_released_weights_are_found_under_their_own_names(released: RunSpec) -> None:
    model = build_model(released)
    siglip = SiglipModel.from_pretrained(released.models_dir / "g" / "siglip").vision_model
    phi = AutoModelForCausalLM.from_pretrained(released.models_dir / "m" / "phi")
    built = model.model.vision_tower.state_dict()
    torch.testing.assert_close(built, {name: siglip.state_dict()[name] for name in built}, rtol=0, atol=0)
    assert_same(model.model.language_model, phi.model)
    assert torch.equal(model.lm_head.weight, phi.lm_head.weight)


def test_a_clip_of_before_safetensors_is_read(released: RunSpec, make_spec: MakeSpec) -> None:
    sizes = {key: value for key, value in released.config.model.vision.config.items() if key != "model_type"}
    text = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    clip = CLIPModel(CLIPConfig(vision_config=sizes, text_config={**text, "vocab_size": 20}))
    folder = released.models_dir / "o" / "clip"
    clip.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    tensors["vision_model.embeddings.position_ids"] = torch.arange(17)  # which older releases stored
    torch.save(tensors, folder / "pytorch_model.bin")
    tower = {"weights": "o/clip", "config": {"model_type": "clip_vision_model"}}
    spec = make_spec("pretrain", {"model": {"vision": tower}}).model_copy(
        update={"data_dir": released.data_dir}
    )
    built = build_model(spec).model.vision_tower.state_dict()
    assert "pre_layrnorm.weight" in built
    expected = clip.vision_model.state_dict()
    torch.testing.assert_close(built, {name: expected[name] for name in built}, rtol=0, atol=0)


def test_released_configurations_complete_the_presets(released: RunSpec, tmp_path: Path) -> None:
    model = build_model(released)
    assert model.config.text_config.rope_parameters["rope_theta"] == 50_000.0
    model.save_pretrained(tmp_path / "stage")
    (released.models_dir / "m" / "phi" / "config.json").unlink()  # a later stage asks the earlier one
    again = build_model(released.model_copy(update={"init_from": tmp_path / "stage"}))
    assert again.config.text_config.rope_parameters["rope_theta"] == 50_000.0


def test_weights_of_another_kind_are_refused(released: RunSpec) -> None:
    path = released.models_dir / "m" / "phi" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "llama"}))
    with pytest.raises(
        ConfigError, match=r'model_type is "llama" in the weights m/phi, but "phi3" in the settings'
    ):
        build_model(released)


def test_missing_base_weights_say_how_to_get_them(make_spec: MakeSpec) -> None:
    with pytest.raises(ConfigError, match=r"weights g/absent are not in .*libmoe prepare"):
        build_model(make_spec("pretrain", {"model": {"vision": {"weights": "g/absent"}}}))


def test_tied_embeddings_are_stored_once(make_spec: MakeSpec, tmp_path: Path) -> None:
    settings = {"model": {"language": {"config": {"tie_word_embeddings": True}}}}
    model = build_model(make_spec("pft", settings))
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    again = build_model(make_spec("sft", settings, init_from=tmp_path))
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)
    assert again.lm_head.weight is again.model.language_model.embed_tokens.weight


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"weight_map": ["a"]}', '{"weight_map": {"a": 1, "b": "c"}}']
)
@pytest.mark.parametrize("whole", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_index_is_bad_data(whole: str, content: str, tmp_path: Path) -> None:
    (tmp_path / f"{whole}.index.json").write_text(content)
    with pytest.raises(DataError, match=r"index\.json is damaged"):
        read_weights(tmp_path)


@pytest.mark.parametrize("whole", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("name", ["../other", "/etc/hostname", "folder/../../other"])
def test_an_index_names_files_of_its_own_folder_alone(whole: str, name: str, tmp_path: Path) -> None:
    index = {"weight_map": {"a": name}}
    (tmp_path / f"{whole}.index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=f"names {name}, which is not in its folder"):
        read_weights(tmp_path)


def test_base_weights_in_shards_of_before_safetensors(released: RunSpec) -> None:
    expected = state(build_model(released))
    folder = released.models_dir / "m" / "phi"
    tensors = read_checkpoint(folder)
    for path in folder.glob("model*"):
        path.unlink()
    names = sorted(tensors)
    for number in range(2):
        torch.save({name: tensors[name] for name in names[number::2]}, folder / f"part-{number}.bin")
    places = {name: f"part-{n % 2}.bin" for n, name in enumerate(names)}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    torch.testing.assert_close(state(build_model(released)), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"moe": {"name": "smoee"}}, "says moe.name wrong"),
        ({"moe": {"name": "smoe", "expertss": 3}}, "says moe.expertss wrong"),
        ({"moe": 3}, "Field 'moe' with value 3"),
        ({"text_config": {"model_type": "phi33"}}, "Unrecognized model type for subconfig: phi33"),
        ({"image_token_index": "x"}, "'image_token_index' expected int"),
    ],
)
def test_a_configuration_that_describes_no_model(
    moe_model: LibmoeForConditionalGeneration, save: Save, change: dict[str, Any], told: str
) -> None:
    folder = save(moe_model)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError, match=told) as caught:
        load_checkpoint(folder)
    assert len(str(caught.value)) < 600

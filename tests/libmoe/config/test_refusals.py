"""Settings that cannot be meant: refused before anything is built, in a sentence that says what to do."""

import re
from pathlib import Path

import pytest

from libmoe.config.algorithms import BUILT_IN
from libmoe.config.errors import ConfigError, nearest
from libmoe.config.layers import assignment_layer, read_toml_layer, resolve
from libmoe.config.routing import check_routing


def refusal(*assignments: str, stage: str = "sft") -> str:
    """What `resolve` says."""
    with pytest.raises(ConfigError) as caught:
        resolve(stage, "tiny", [assignment_layer(assignment) for assignment in assignments])
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("train.learning_rate=inf", "finite number; got inf"),
        ("train.hang_minutes=inf", "finite number; got inf"),
        ("model.scales=[]", "(from --set model.scales) is wrong: .*at least 1 item"),
        (
            "model.scales=[1, 0]",
            "'model.scales.1' (from --set model.scales) is wrong: .*greater than 0; got 0",
        ),
        ("model.image_std=[0.5, 0, 0.5]", "greater than 0"),
        ("moe.experts=true", "valid integer; got True"),
        ("moe.experts=6.0", "valid integer; got 6.0"),
        ("train.learning_rate=true", "valid number; got True"),
        ("train.trainable=[]", "at least 1 item"),
        ("moe.where=[]", "at least 1 item"),
        ("train.zero.stage=2", "set train.zero.stage=3 or train.zero.offload_parameters=false.$"),
        ("stage=sft", "is 'sft', but pft was chosen: give it with --stage."),
        ("preset=phi35-siglip224", "but tiny was chosen: give it with --preset."),
        ("model.vision.config.hidden_size=-64", "hidden_size is a whole number from 1 on, not -64"),
        ("model.vision.config.hidden_size=wide", "hidden_size is a whole number from 1 on, not 'wide'"),
        ("model.vision.config.patch_size=0", "patch_size is a whole number from 1 on, not 0"),
        ("model.vision.config.patch_size=57", "patch_size is larger than image_size"),
        ("model.language.config.attention_dropout=2", "attention_dropout is a probability, 0 to 1, not 2"),
        ("model.language.config.attention_dropout=true", "is a probability, 0 to 1, not True"),
        (
            "model.vision.config.num_attention_heads=7",
            "hidden_size is 64, which num_attention_heads = 7 does not",
        ),
        (
            "model.language.config.num_key_value_heads=3",
            "num_attention_heads is 4, which num_key_value_heads = 3",
        ),
    ],
)
def test_what_no_run_can_have(setting: str, says: str) -> None:
    assert re.search(
        says.replace("(", r"\(").replace(")", r"\)").replace("[", r"\["), refusal(setting, stage="pft")
    )


def test_offloading_needs_what_is_partitioned() -> None:
    assert "ZeRO 0 does not partition optimizer" in refusal(
        "train.zero.stage=0", "train.zero.offload_optimizer=true", stage="pretrain"
    )


def test_a_size_may_follow_from_others() -> None:
    run = resolve("sft", "tiny", [assignment_layer("model.language.config.head_dim=24")]).config
    assert run.model.language.config["head_dim"] == 24


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("train.lr=1", "did you mean 'learning_rate'?"),
        ("learning_rate=1", "did you mean 'train.learning_rate'?"),
        ("train.workers=1", "did you mean 'data.workers'?"),
        ("train.lerning_rate=1", "did you mean 'learning_rate'?"),
        ("moe.stage=1", "did you mean 'stage' or 'train.zero.stage'?"),
    ],
)
def test_an_unknown_setting_names_the_one_that_is_meant(setting: str, meant: str) -> None:
    assert meant in refusal(setting)


def test_the_stage_of_a_file_is_not_another(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('stage = "pft"\n[train]\nepochs = 2\n')
    layer = read_toml_layer(path, "file")
    assert resolve("pft", "tiny", [layer]).config.train.epochs == 2
    with pytest.raises(ConfigError, match=r"'stage' \(file\) is 'pft', but sft was chosen"):
        resolve("sft", "tiny", [layer])


@pytest.mark.parametrize(
    ("layer", "refused"), [(-5, True), (-4, False), (-1, False), (0, False), (3, False), (4, True)]
)
def test_the_tower_has_the_hidden_state_that_is_read(layer: int, refused: bool) -> None:
    """Of 3 layers: what goes into the first, to what comes out of the last."""
    setting = assignment_layer(f"model.vision_feature_layer={layer}")
    if not refused:
        assert resolve("pretrain", "tiny", [setting]).config.model.vision_feature_layer == layer
        return
    with pytest.raises(ConfigError, match=rf"is {layer}, but the tower has 3 layers: choose -4 to 3"):
        resolve("pretrain", "tiny", [setting])


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_algorithm_has_enough_experts(name: str) -> None:
    moe = resolve("sft", "tiny", [assignment_layer(f"moe.name={name}")]).config.moe
    check_routing(moe)
    with pytest.raises(ConfigError, match=r"moe\.top_k is 3 but there are only 2 experts"):
        check_routing(moe.model_copy(update={"experts": 2}))


def test_a_dense_model_has_no_routing_to_be_wrong() -> None:
    moe = resolve("pretrain", "tiny", [assignment_layer("moe.experts=2")]).config.moe
    check_routing(moe)


def test_initials_are_a_name_too() -> None:
    assert (
        nearest("lr", ["learning_rate", "width"])
        == "did you mean 'learning_rate'? Known: learning_rate, width."
    )

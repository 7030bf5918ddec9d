"""What cannot be imported is refused in one sentence, and leaves nothing behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from libmoe.config.errors import ConfigError, DataError, LibmoeError, UsageError
from libmoe.model.interchange import Origin, import_checkpoint

from .conftest import MakeUpstream, SaveUpstream, State

GATE = "model.mm_projector.moelayer.gate.weight"
FC1 = "model.vision_tower.vision_model.encoder.layers.1.moelayer.experts.2.fc1.bias"


class Opener:
    """Pickles as a call of ``open``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture
def source(make_upstream: MakeUpstream, save_upstream: SaveUpstream) -> Callable[..., Path]:
    def save(change: Callable[[State], None] = lambda state: None, **settings: object) -> Path:
        state = dict(make_upstream().state_dict())
        change(state)
        return save_upstream(state, "smoe", **settings)

    return save


def refusal(source: Path, tower: Path, error: type[LibmoeError]) -> str:
    target = source.parent / "ours"
    with pytest.raises(error) as caught:
        import_checkpoint(source, target, Origin(tower=tower))
    assert [path.name for path in source.parent.iterdir()] == [source.name]
    return str(caught.value)


def test_a_missing_tensor_is_named(source: Callable[..., Path], tower: Path) -> None:
    message = refusal(source(lambda state: state.pop(FC1)), tower, ConfigError)
    assert f"lacks the tensor {FC1} (24,)" in message


def test_another_shape_is_told_with_both(source: Callable[..., Path], tower: Path) -> None:
    def narrow(state: State) -> None:
        state[GATE] = state[GATE][:, :-1].contiguous()

    message = refusal(source(narrow), tower, ConfigError)
    assert f"{GATE} with shape (4, 31), its config.json describes (4, 32)" in message


def test_a_tensor_too_many_is_named(source: Callable[..., Path], tower: Path) -> None:
    def add(state: State) -> None:
        state["model.image_newline"] = torch.ones(40)

    assert "holds the tensor model.image_newline (40,)" in refusal(source(add), tower, ConfigError)


def test_another_number_of_experts_is_a_tensor_too_many(source: Callable[..., Path], tower: Path) -> None:
    assert "moelayer" in refusal(source(num_experts=3), tower, ConfigError)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"moe_name": "smoee"}, "moe_name 'smoee' cannot be imported: did you mean 'smoe'?"),
        ({"mm_patch_merge_type": "spatial_unpad"}, "mm_patch_merge_type = 'spatial_unpad'"),
        ({"image_aspect_ratio": "anyres"}, "only 'square' or 'pad'"),
        ({"scales": [2, 3]}, "scales = [2, 3]"),
        ({"mlp_smoe": False}, "do not agree on whether the connector has experts"),
        ({"model_type": "llava_ph"}, "did you mean 'llava_phi'?"),
        ({"vocab_size": 2}, "beyond the model's 2 embeddings"),
        ({"num_selected": 9}, "moe.top_k is 9"),
        ({"num_experts": 0}, "num_experts = 0, which is wrong"),
        ({"moe_name": ["smoe"]}, "did you mean 'smoe'?"),
        ({"scales": "1,3"}, "scales = '1,3': write whole numbers, as [1, 3]"),
        ({"scales": [1, 0]}, "scales = [1, 0]: write whole numbers"),
        ({"hidden_size": "wide"}, "'hidden_size' expected int"),
        ({"rope_scaling": "longer"}, "got longer"),
        ({"hidden_act": "silluu"}, "KeyError: 'silluu'"),
    ],
)
def test_settings_of_another_model_are_refused(
    settings: dict[str, object], sentence: str, source: Callable[..., Path], tower: Path
) -> None:
    assert sentence in refusal(source(**settings), tower, ConfigError)


def test_code_in_a_bin_file_is_not_run(source: Callable[..., Path], tower: Path, tmp_path: Path) -> None:
    folder = source()
    torch.save({"mm_projector.0.bias": Opener(tmp_path / "harm")}, folder / "mm_projector.bin")
    assert "mm_projector.bin is not tensors alone" in refusal(folder, tower, DataError)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"hello"])
def test_damaged_bin_files_are_bad_data(content: bytes, source: Callable[..., Path], tower: Path) -> None:
    folder = source()
    (folder / "clip.bin").write_bytes(content)
    assert "clip.bin is" in refusal(folder, tower, DataError)


@pytest.mark.parametrize("value", [[torch.ones(1)], {"mm_projector.0.bias": 3}, {0: torch.ones(1)}])
def test_what_is_no_state_dict_is_bad_data(value: object, source: Callable[..., Path], tower: Path) -> None:
    folder = source()
    torch.save(value, folder / "clip.bin")
    assert "clip.bin is no state dict" in refusal(folder, tower, DataError)


def test_truncated_bin_files_are_bad_data(source: Callable[..., Path], tower: Path) -> None:
    folder = source()
    torch.save({"vision_model.x": torch.ones(1000)}, folder / "clip.bin")
    whole = (folder / "clip.bin").read_bytes()
    (folder / "clip.bin").write_bytes(whole[: len(whole) // 2])
    assert "clip.bin is" in refusal(folder, tower, DataError)


def test_a_folder_without_weights_is_told(source: Callable[..., Path], tower: Path) -> None:
    folder = source()
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refusal(folder, tower, ConfigError)


def test_weights_that_were_quantized_are_told(source: Callable[..., Path], tower: Path) -> None:
    def quantize(state: State) -> None:
        state["model.embed_tokens.weight"] = state["model.embed_tokens.weight"].to(torch.int8)

    assert "embed_tokens.weight as torch.int8" in refusal(source(quantize), tower, ConfigError)


def test_a_tokenizer_that_is_not_there(source: Callable[..., Path], tower: Path, tmp_path: Path) -> None:
    for given in (tmp_path / "absent", source() / "config.json"):
        with pytest.raises(ConfigError, match="no readable tokenizer"):
            import_checkpoint(tmp_path / "upstream", tmp_path / "ours", Origin(tower, tokenizer=given))


@pytest.mark.parametrize(
    "colours",
    [{"image_mean": 3}, {"image_mean": [0.5]}, {"image_mean": ["a", "b", "c"]}, {"image_std": [0, 0, 0]}],
)
def test_colours_of_a_tower_that_are_none(
    colours: dict[str, object], source: Callable[..., Path], tower: Path, tmp_path: Path
) -> None:
    other = tmp_path / "upstream" / "tower"
    folder = source()
    shutil.copytree(tower, other)
    (other / "preprocessor_config.json").write_text(json.dumps(colours))
    assert "write three numbers" in refusal(folder, other, DataError)


@pytest.mark.parametrize("content", [{"vision_config": "x"}, {"vision_config": None}])
def test_a_folder_that_describes_no_tower(
    content: object, source: Callable[..., Path], tmp_path: Path
) -> None:
    folder = source()
    (folder / "tower").mkdir()
    (folder / "tower" / "config.json").write_text(json.dumps(content))
    assert "no config.json of a SigLIP or CLIP tower" in refusal(folder, folder / "tower", ConfigError)


def test_a_source_or_tower_that_is_a_file(source: Callable[..., Path], tower: Path) -> None:
    folder = source()
    with pytest.raises(ConfigError, match=r"There is no .*config\.json/config\.json"):
        import_checkpoint(folder / "config.json", folder.parent / "ours", Origin(tower))
    assert "There is no" in refusal(folder, folder / "config.json", ConfigError)


def test_an_unknown_tower_asks_for_its_folder(source: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'google/siglip-tiny' is none of a preset's .*--tower"):
        import_checkpoint(source(), tmp_path / "ours")


def test_a_destination_in_use_is_left_alone(source: Callable[..., Path], tower: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        import_checkpoint(source(), tmp_path / "ours", Origin(tower=tower))
    assert (tmp_path / "ours" / "mine.txt").read_text() == "mine"

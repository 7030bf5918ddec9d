"""Our models in upstream's layout: there and back, nothing changes."""

import json
import resource
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from libmoe.config.errors import ConfigError, VolumeError
from libmoe.config.run import RunSpec
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import build_model
from libmoe.model.interchange import Origin, export_checkpoint, import_checkpoint
from libmoe.model.interchange.exporting import save_adapters
from libmoe.model.interchange.names import CONNECTOR, ROUTERS
from libmoe.model.interchange.shards import Lazy, new_folder, write_shards
from libmoe.model.processor import build_processor
from libmoe.model.tensor_files import read_checkpoint

from .conftest import MakeUpstream, SaveUpstream, settings

TOWER = "google/siglip-tiny"
every_model = pytest.mark.parametrize("algorithm", [None, *ROUTERS])


def tensors(folder: Path) -> dict[str, Tensor]:
    return read_checkpoint(folder)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one)


@every_model
def test_upstreams_come_back_bit_for_bit(
    algorithm: str | None,
    make_upstream: MakeUpstream,
    save_upstream: SaveUpstream,
    tower: Path,
    tmp_path: Path,
) -> None:
    upstream = make_upstream(algorithm)
    source = save_upstream(dict(upstream.state_dict()), algorithm)
    left_out = import_checkpoint(source, tmp_path / "ours", Origin(tower=tower)).left_out
    export_checkpoint(tmp_path / "ours", tmp_path / "again", TOWER)
    unread = left_out["upstream never reads it"]
    expected = {name: t.zero_() if name in unread else t for name, t in tensors(source).items()}
    assert_same(tensors(tmp_path / "again"), expected)
    upstream.load_state_dict(tensors(tmp_path / "again"), strict=True)
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    differs = {"training", "local_rank", "sparse_upcycling", "transformers_version", "topk_max"}
    differs |= {"moe_name", "num_experts", "num_selected"} if algorithm is None else set()
    described = {key: value for key, value in settings(algorithm).items() if key not in differs}
    assert {key: written[key] for key in described} == described
    import_checkpoint(tmp_path / "again", tmp_path / "twice", Origin(tower=tower))
    assert_same(tensors(tmp_path / "twice"), tensors(tmp_path / "ours"))
    for name in ("config.json", "processor_config.json", "generation_config.json"):
        assert (tmp_path / "twice" / name).read_text() == (tmp_path / "ours" / name).read_text()


@pytest.fixture
def save(make_spec: Callable[..., RunSpec], tmp_path: Path) -> Callable[..., Path]:
    """Saves a model with its processor and returns the folder."""

    def to_folder(model: LibmoeForConditionalGeneration) -> Path:
        spec = make_spec("sft")
        model.save_pretrained(tmp_path / "saved")
        build_processor(spec.config, spec.models_dir).save_pretrained(tmp_path / "saved")
        return tmp_path / "saved"

    return to_folder


def test_a_dense_model_has_the_files_that_upstreams_next_stage_reads(
    dense_model: LibmoeForConditionalGeneration, save: Callable[..., Path], tmp_path: Path
) -> None:
    export_checkpoint(save(dense_model), tmp_path / "upstream", TOWER)
    whole = tensors(tmp_path / "upstream")
    connector = torch.load(tmp_path / "upstream" / "mm_projector.bin", weights_only=True)
    tower = torch.load(tmp_path / "upstream" / "clip.bin", weights_only=True)
    assert set(connector) == {f"model.mm_projector.{n}.{p}" for n in (0, 2) for p in ("weight", "bias")}
    assert {f"model.vision_tower.{name}" for name in tower} == {name for name in whole if "vision" in name}
    assert "vision_model.encoder.layers.2.mlp.fc1.weight" in tower
    for name, tensor in {**connector, **{f"model.vision_tower.{n}": t for n, t in tower.items()}}.items():
        assert torch.equal(tensor, whole[name])


def test_the_shared_expert_is_upstreams_last(
    make_spec: Callable[..., RunSpec], save: Callable[..., Path], tmp_path: Path
) -> None:
    model = build_model(make_spec("sft", {"moe": {"name": "smoe_share"}}))
    with torch.no_grad():
        for n in range(6):
            model.model.multi_modal_projector.experts.linear_1.bias[n] = n
    export_checkpoint(save(model), tmp_path / "upstream", TOWER)
    written = tensors(tmp_path / "upstream")
    held = [written[f"model.mm_projector.moelayer.experts.{e}.0.bias"][0].item() for e in range(6)]
    assert held == [1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": {"vision_feature_layer": -1}}, "vision_feature_layer -2, this one -1"),
        ({"model": {"scales": [3, 1]}}, "first scale is always 1"),
        ({"moe": {"where": ["connector", "language"]}}, "smoe in connector, language"),
        ({"moe": {"name": "aux_free"}}, "aux_free in vision, connector"),
        (
            {"model": {"vision": {"config": {"model_type": "siglip2_vision_model", "num_patches": 16}}}},
            "this model's is a siglip2_vision_model",
        ),
        ({"moe": {"layers": {"vision": [1]}}}, r"no place for the tensor .*layers\.0\.mlp\.fc1"),
        ({"moe": {"name": "xmoe"}}, "only models with moe.compat = upstream"),
    ],
)
def test_what_upstream_cannot_compute_is_refused(
    changes: dict[str, Any],
    sentence: str,
    make_spec: Callable[..., RunSpec],
    save: Callable[..., Path],
    tmp_path: Path,
) -> None:
    model = build_model(make_spec("sft", changes))
    with pytest.raises(ConfigError, match=sentence):
        export_checkpoint(save(model), tmp_path / "upstream", TOWER)
    assert not (tmp_path / "upstream").exists()


def test_a_tower_of_no_preset_wants_a_name(
    dense_model: LibmoeForConditionalGeneration, save: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="name it with --tower"):
        export_checkpoint(save(dense_model), tmp_path / "upstream")


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 20 kB, as on a disk that fills up."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("kind", ["safetensors", "adapters"])
def test_a_full_disk_is_said_and_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    large = {f"{CONNECTOR}0.weight": Lazy(400_000, partial(torch.zeros, 100_000))}
    write = {"safetensors": write_shards, "adapters": save_adapters}[kind]
    with pytest.raises(VolumeError, match="cannot be written"), new_folder(tmp_path / "upstream") as folder:
        write(folder, large)
    assert not list(tmp_path.iterdir())


def test_a_link_to_an_empty_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with new_folder(tmp_path / "link") as folder:
        (folder / "a").write_text("a")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "a").read_text() == "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]


def test_shards_are_what_transformers_writes(tmp_path: Path) -> None:
    state = {name: torch.randn(10) for name in "abcde"}
    write_shards(tmp_path, {name: Lazy(t.nbytes, t.clone) for name, t in state.items()}, shard_bytes=80)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert files == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert [len(load_file(tmp_path / file)) for file in files] == [2, 2, 1]
    assert_same(read_checkpoint(tmp_path), state)

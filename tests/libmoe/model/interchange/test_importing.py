"""Upstream's checkpoints become models of ours that compute the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from libmoe.captioner import Captioner
from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec
from libmoe.model.build import build_model
from libmoe.model.checkpoint import load_checkpoint
from libmoe.model.interchange import Origin, export_checkpoint, import_checkpoint
from libmoe.model.interchange.names import ROUTERS

from .conftest import MOE, TEXT, VISION, MakeUpstream, SaveUpstream, settings
from .upstream import ALGORITHMS


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def logits(folder: Path, images: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Ours of the same text and pixels."""
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    places = torch.full((1, model.config.grid**2), model.config.image_token_id)
    return model(input_ids=torch.cat([before, places, after], 1), pixel_values=images).logits


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    before, after = torch.randint(20, 900, (2, 1, 5), generator=generator)
    return torch.randn(1, 3, 28, 28, generator=generator), before, after


def test_every_algorithm_of_upstream_is_known() -> None:
    assert set(ROUTERS) == set(ALGORITHMS)


@pytest.mark.parametrize("algorithm", [None, *ROUTERS])
def test_an_imported_model_computes_what_upstream_does(
    algorithm: str | None,
    make_upstream: MakeUpstream,
    save_upstream: SaveUpstream,
    tower: Path,
    tmp_path: Path,
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    upstream = make_upstream(algorithm)
    source = save_upstream(state_of(upstream), algorithm)
    import_checkpoint(source, tmp_path / "ours", Origin(tower=tower))
    images, before, after = inputs
    with torch.no_grad():
        expected = upstream.logits(before, images, after)
        torch.testing.assert_close(logits(tmp_path / "ours", images, before, after), expected)


def test_settings_are_upstreams(
    make_upstream: MakeUpstream, save_upstream: SaveUpstream, tower: Path, tmp_path: Path
) -> None:
    import_checkpoint(
        save_upstream(state_of(make_upstream("xmoe")), "xmoe"), tmp_path / "ours", Origin(tower=tower)
    )
    model, processor = load_checkpoint(tmp_path / "ours")
    moe = model.config.moe_settings
    assert (moe.name, moe.compat) == ("xmoe", "upstream")
    assert (moe.experts, moe.top_k) == (MOE["num_experts"], MOE["num_selected"])
    assert (moe.balance_coefficient, moe.z_coefficient, moe.router_std) == (0.02, 0.002, 0.03)
    assert model.config.scales == [1, 3]
    assert model.config.text_config.rope_parameters["rope_theta"] == 5000.0
    pixels = processor.image_processor
    assert (pixels.size.height, pixels.do_pad, pixels.image_mean) == (28, True, (0.4,) * 3)


def test_an_imported_model_generates_from_a_photograph(
    make_upstream: MakeUpstream, save_upstream: SaveUpstream, tower: Path, tmp_path: Path, photograph: Image
) -> None:
    source = save_upstream(state_of(make_upstream()), "smoe")
    import_checkpoint(source, tmp_path / "ours", Origin(tower=tower))
    assert isinstance(Captioner(tmp_path / "ours").generate([photograph], "What is this?", 4), str)


def test_a_stage_starts_from_an_import(
    make_upstream: MakeUpstream,
    save_upstream: SaveUpstream,
    tower: Path,
    tmp_path: Path,
    make_spec: Callable[..., RunSpec],
) -> None:
    source = save_upstream(state_of(make_upstream()), "smoe")
    import_checkpoint(source, tmp_path / "ours", Origin(tower=tower))
    vision = {"model_type": "siglip_vision_model", **VISION}
    language = {"model_type": "phi3", **TEXT}
    run = {
        "model": {"vision": {"config": vision}, "language": {"config": language}},
        "moe": {"experts": MOE["num_experts"]},
    }
    built = build_model(make_spec("sft", run, init_from=tmp_path / "ours")).state_dict()
    torch.testing.assert_close(
        dict(built), load_file(tmp_path / "ours" / "model.safetensors"), rtol=0, atol=0
    )


def test_what_upstream_never_reads_is_left_out_and_said(
    make_upstream: MakeUpstream, save_upstream: SaveUpstream, tower: Path, tmp_path: Path
) -> None:
    state = state_of(make_upstream("xmoe"))
    state["model.vision_tower.vision_model.post_layernorm.weight"] = torch.ones(16)
    state["model.vision_tower.vision_model.embeddings.position_ids"] = torch.arange(4)
    source = save_upstream(state, "xmoe", luna=False)
    left_out = import_checkpoint(source, tmp_path / "ours", Origin(tower=tower)).left_out
    unread = set(left_out["upstream never reads it"])
    assert "model.mm_projector.moelayer.gate.weight" in unread
    assert {name for name in state if ".layers.2." in name and "vision_tower" in name} <= unread
    assert left_out["settings that nothing here knows"] == ["luna"]
    assert len(left_out) == 4


def test_the_connector_alone_is_completed_by_its_base_models(
    make_upstream: MakeUpstream, tower: Path, tmp_path: Path, volume: Path
) -> None:
    """What stage 1 leaves: ``mm_projector.bin`` and a config.json."""
    upstream = make_upstream(None)
    state = state_of(upstream)
    source, base, language = tmp_path / "stage1", tmp_path / "siglip", tmp_path / "phi"
    source.mkdir()
    connector = {name: tensor for name, tensor in state.items() if "mm_projector" in name}
    torch.save(connector, source / "mm_projector.bin")
    (source / "config.json").write_text(json.dumps(settings(None)))
    shutil.copytree(tower, base)
    vision = "model.vision_tower."
    released = {name.removeprefix(vision): t for name, t in state.items() if name.startswith(vision)}
    save_file(
        {**released, "text_model.head.weight": torch.ones(1), "logit_scale": torch.ones(1)},
        base / "model.safetensors",
    )
    shutil.copytree(volume / "models" / "libmoe" / "tiny", language)
    text = {name: t for name, t in state.items() if "vision_tower" not in name and "mm_projector" not in name}
    save_file(text, language / "model.safetensors")

    with pytest.raises(ConfigError, match=r"lacks the language model.*--language"):
        import_checkpoint(source, tmp_path / "ours", Origin(tower=tower, tokenizer=language))
    for folder in (base, language):  # as older releases have them
        file = folder / "model.safetensors"
        torch.save(load_file(file), folder / "pytorch_model.bin")
        file.unlink()
    import_checkpoint(source, tmp_path / "ours", Origin(tower=base, language=language))
    imported = load_file(tmp_path / "ours" / "model.safetensors")
    for name in ("weight", "bias"):
        expected = state[f"model.mm_projector.2.{name}"]
        assert torch.equal(imported[f"model.multi_modal_projector.linear_2.{name}"], expected)
    assert torch.equal(imported["lm_head.weight"], state["lm_head.weight"])


def test_adapters_win_over_the_whole_model(
    make_upstream: MakeUpstream, save_upstream: SaveUpstream, tower: Path, tmp_path: Path
) -> None:
    source = save_upstream(state_of(make_upstream(None)), None)
    bare = {"mm_projector.0.bias": torch.full((40,), 7.0)}
    torch.save(bare, source / "mm_projector.bin")
    torch.save({"vision_model.encoder.layers.0.mlp.fc1.bias": torch.full((24,), 8.0)}, source / "clip.bin")
    import_checkpoint(source, tmp_path / "ours", Origin(tower=tower))
    imported = load_file(tmp_path / "ours" / "model.safetensors")
    assert (imported["model.multi_modal_projector.linear_1.bias"] == 7).all()
    assert (imported["model.vision_tower.encoder.layers.0.mlp.fc1.bias"] == 8).all()


def test_sharded_bin_files_are_read(
    make_upstream: MakeUpstream, save_upstream: SaveUpstream, tower: Path, tmp_path: Path
) -> None:
    state = {name: tensor.to(torch.bfloat16) for name, tensor in state_of(make_upstream()).items()}
    source = save_upstream(state, "smoe")
    import_checkpoint(source, tmp_path / "expected", Origin(tower=tower))
    (source / "model.safetensors").unlink()
    names = sorted(state)
    shards = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for number, (file, kept) in enumerate(shards.items()):
        shard = {name: state[name] for name in kept}
        torch.save(shard, source / file, _use_new_zipfile_serialization=number == 0)
    index = {"weight_map": {name: file for file, kept in shards.items() for name in kept}}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    import_checkpoint(source, tmp_path / "ours", Origin(tower=tower))
    files = [load_file(tmp_path / folder / "model.safetensors") for folder in ("ours", "expected")]
    torch.testing.assert_close(*files, rtol=0, atol=0)
    assert load_checkpoint(tmp_path / "ours")[0].dtype == torch.bfloat16


@pytest.mark.parametrize("head_is_saved", [True, False])
def test_tied_embeddings_are_stored_once(
    head_is_saved: bool,
    make_upstream: MakeUpstream,
    save_upstream: SaveUpstream,
    tower: Path,
    tmp_path: Path,
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    upstream = make_upstream("smoe", tied=True)
    state = state_of(upstream)
    if not head_is_saved:
        del state["lm_head.weight"]
    source = save_upstream(state, "smoe", model_type="llava_smollm", tie_word_embeddings=True)
    left_out = import_checkpoint(source, tmp_path / "ours", Origin(tower=tower)).left_out
    assert left_out.get("tied to the word embeddings") == (["lm_head.weight"] if head_is_saved else None)
    images, before, after = inputs
    with torch.no_grad():
        expected = upstream.logits(before, images, after)
        torch.testing.assert_close(logits(tmp_path / "ours", images, before, after), expected)
    export_checkpoint(tmp_path / "ours", tmp_path / "again", "google/siglip-tiny")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["model_type"] == "llava_smollm"


def test_a_head_of_its_own_is_no_tied_one(
    make_upstream: MakeUpstream, save_upstream: SaveUpstream, tower: Path, tmp_path: Path
) -> None:
    state = state_of(make_upstream("smoe", tied=True))
    state["lm_head.weight"] += 1
    source = save_upstream(state, "smoe", model_type="llava_smollm", tie_word_embeddings=True)
    with pytest.raises(ConfigError, match=r"holds the tensor lm_head\.weight"):
        import_checkpoint(source, tmp_path / "ours", Origin(tower=tower))

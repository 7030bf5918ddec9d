"""Counted memory against what autograd and DeepSpeed hold."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from libmoe.config.counting import Memory, anatomy, count_memory, count_parameters
from libmoe.config.counting.activations import activation_bytes
from libmoe.config.layers import Layer, assignment_layer, resolve
from libmoe.config.schema import Part, RunConfig
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import model_config

from .live import peak_bytes

EVERYWHERE: tuple[Part, ...] = ("vision", "connector", "language")
WORKER = Path(__file__).parent / "memory_worker.py"


def configured(*settings: str, preset: str = "tiny", stage: str = "sft") -> RunConfig:
    return resolve(stage, preset, [assignment_layer(setting) for setting in settings]).config


DECODER = {"hidden_size": 256, "intermediate_size": 640, "num_attention_heads": 4, "num_hidden_layers": 3}
TOWER = {"hidden_size": 128, "intermediate_size": 320, "num_attention_heads": 4, "num_hidden_layers": 5}
DECODERS: dict[str, dict[str, Any]] = {
    "phi3": {"model_type": "phi3"},
    "llama": {"model_type": "llama", "num_key_value_heads": 1, "head_dim": 32, "attention_bias": True},
    "qwen3": {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 64},
}
TOWERS: dict[str, dict[str, Any]] = {
    "siglip": {"model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14},
    "clip": {"model_type": "clip_vision_model", "image_size": 56, "patch_size": 14},
}
IMAGES = 2


def sized(tower: str, decoder: str, moe: dict[str, Any]) -> RunConfig:
    """``tiny`` with backbones in which no width hides behind another."""
    run = resolve("sft", "tiny", [Layer("test", {"moe": moe})]).config
    common = {"vocab_size": 500, "num_key_value_heads": 4, "max_position_embeddings": 512, "pad_token_id": 0}
    language = run.model.language.model_copy(update={"config": {**DECODER, **common, **DECODERS[decoder]}})
    vision = run.model.vision.model_copy(update={"config": {**TOWER, **TOWERS[tower]}})
    parts = {"language": language, "vision": vision, "scales": (1, 3)}
    return run.model_copy(update={"model": run.model.model_copy(update=parts)})


def built(run: RunConfig, dtype: torch.dtype, trainable: tuple[Part, ...]) -> LibmoeForConditionalGeneration:
    model = LibmoeForConditionalGeneration(model_config(run, image_token_id=3)).to(dtype).train()
    model.set_trainable(trainable)
    return model


def row(dtype: torch.dtype, tokens: int) -> dict[str, Tensor]:
    ids = torch.full((1, tokens), 30)
    ids[:, : 16 * IMAGES] = 3
    return {"input_ids": ids, "labels": ids, "pixel_values": torch.randn(IMAGES, 3, 168, 168, dtype=dtype)}


def kept(module: nn.Module, **inputs: Tensor) -> int:
    """Bytes of all tensors that autograd keeps, parameters aside, each once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    alive: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        alive.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(**inputs)
    return sum(tensor.untyped_storage().nbytes() for address, tensor in alive.items() if address not in own)


ANYWHERE = {"where": EVERYWHERE, "experts": 5, "top_k": 2}
MODELS = [
    ("siglip", "phi3", {"name": "none"}, EVERYWHERE),
    ("clip", "llama", {"name": "none"}, EVERYWHERE),
    ("siglip", "qwen3", {"name": "none"}, EVERYWHERE),
    ("siglip", "phi3", {"name": "none"}, ("connector",)),
    ("siglip", "phi3", {"name": "none"}, ("language",)),
    ("clip", "qwen3", {"name": "none"}, ("vision",)),
    ("siglip", "phi3", {**ANYWHERE, "name": "smoe"}, EVERYWHERE),
    ("clip", "llama", {**ANYWHERE, "name": "smoe_tcmoe"}, EVERYWHERE),
    ("siglip", "phi3", {**ANYWHERE, "name": "smoe_share", "where": ("connector",)}, ("connector",)),
    ("siglip", "phi3", {**ANYWHERE, "name": "expert_choice", "where": ("vision",)}, EVERYWHERE),
]
Case = tuple[str, str, dict[str, Any], tuple[Part, ...]]


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize(("dtype", "tokens"), [(torch.float32, 40), (torch.bfloat16, 300)], ids=str)
def test_activations_are_what_autograd_keeps(case: Case, dtype: torch.dtype, tokens: int) -> None:
    """Few tokens show the tower's share, many the decoder's."""
    *model, trainable = case
    run = sized(*model)
    shape = anatomy(run.model, run.moe)
    counted = activation_bytes(shape, trainable, False, dtype.itemsize, 1, tokens, IMAGES)
    counted -= 2 * 4 * tokens * shape.language.head.outputs  # gradients of the logits come later
    if "vision" not in trainable:  # whose pixels are there all the same
        counted -= IMAGES * shape.vision.tiles * 16 * shape.vision.patch.inputs * dtype.itemsize
    assert counted == pytest.approx(kept(built(run, dtype, trainable), **row(dtype, tokens)), rel=0.06)


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_so_much_is_alive_at_once(case: Case, checkpointing: bool) -> None:
    *sizes, trainable = case
    run = sized(*sizes)
    model = built(run, torch.bfloat16, trainable)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    shape = anatomy(run.model, run.moe)
    counted = activation_bytes(shape, trainable, checkpointing, 2, 1, 300, IMAGES)
    assert counted == pytest.approx(peak_bytes(model, row(torch.bfloat16, 300)), rel=0.15)


def test_checkpointing_keeps_a_layer_and_the_inputs_of_all() -> None:
    run = configured(preset="phi35-siglip224")
    shape = anatomy(run.model, run.moe)
    whole, little = (activation_bytes(shape, EVERYWHERE, again, 2, 1, 2048, 1) for again in (False, True))
    inputs = 2 * (2048 * 32 * 3072 + 10 * 256 * 26 * 1152)
    assert inputs < little < inputs + (whole - inputs) / 4


def held_by_deepspeed(tmp_path: Path, *settings: str) -> dict[str, int]:
    environment = {
        **os.environ,
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "CC": "false",
        "CXX": "false",
    }
    environment |= {"PYTHONPATH": str(Path(__file__).parents[4]), "RANK": "0", "LOCAL_RANK": "0"}
    environment |= {"WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, str(WORKER), str(tmp_path / "store"), *settings],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_weights_gradients_and_optimizer_are_what_deepspeed_holds(tmp_path: Path) -> None:
    settings = ("train.zero.stage=3", 'train.trainable=["connector", "language"]', 'train.precision="bf16"')
    held, run = held_by_deepspeed(tmp_path, *settings), configured(*settings)
    counted = count_memory(anatomy(run.model, run.moe), run, ranks=1)
    assert held["float32"] == pytest.approx(counted.optimizer, rel=0.02)
    assert held["bfloat16"] == pytest.approx(counted.parameters + counted.gradients, rel=0.1)


@pytest.mark.parametrize(("stage", "parameters"), [(3, "true"), (3, "false"), (2, "false")])
def test_the_host_holds_what_is_offloaded(tmp_path: Path, stage: int, parameters: str) -> None:
    """In the CPU's one memory, what the device would hold lies beside it: weights that are not offloaded.

    In stage 2 also the embeddings' gradient on its way, two of the model's quarter of a million numbers each.
    """
    offload = ("train.zero.offload_optimizer=true", f"train.zero.offload_parameters={parameters}")
    settings = (f"train.zero.stage={stage}", 'train.precision="bf16"', *offload)
    held, run = held_by_deepspeed(tmp_path, *settings), configured(*settings)
    counted = count_memory(anatomy(run.model, run.moe), run, ranks=1)
    stays = 0 if parameters == "true" else counted.parameters
    assert held["float32"] + held["bfloat16"] == pytest.approx(
        counted.host + stays, rel=0.02 if stage == 3 else 0.04
    )


def test_ranks_share_what_their_stage_partitions() -> None:
    def counted(ranks: int, *settings: str) -> Any:
        run = configured(*settings, preset="phi35-siglip224", stage="sft")
        return count_memory(anatomy(run.model, run.moe), run, ranks)

    run = configured(preset="phi35-siglip224")
    total = count_parameters(anatomy(run.model, run.moe)).total
    plain = counted(4, "train.zero.stage=0")
    assert (plain.parameters, plain.gradients, plain.optimizer) == (2 * total, 2 * total, 12 * total)
    second = counted(4, "train.zero.stage=2")
    assert (second.parameters, second.gradients, second.optimizer) == (2 * total, total / 2, 3 * total)
    third = counted(4)
    assert (third.parameters, third.gradients, third.optimizer) == (total / 2, total / 2, 3 * total)
    away = counted(4, "train.zero.offload_optimizer=true", "train.zero.offload_parameters=true")
    assert away.host == away.parameters + away.gradients + away.optimizer == (0.5 + 1.5 + 3) * total
    assert away.device == away.activations + away.buffers


def counted_of(*settings: str, preset: str = "phi35-siglip224", ranks: int = 4) -> Memory:
    run = configured(*settings, preset=preset)
    return count_memory(anatomy(run.model, run.moe), run, ranks)


def test_buffers_hold_a_bucket_and_what_stage_3_gathers() -> None:
    assert counted_of("train.zero.stage=0").buffers == 0
    assert counted_of("train.zero.stage=2").buffers == 2 * 50_000_000
    assert counted_of("train.zero.stage=2", "train.precision=fp32").buffers == 4 * 50_000_000
    assert counted_of().buffers == 2 * (50_000_000 + 1_000_000_000)
    run = configured()
    total = count_parameters(anatomy(run.model, run.moe)).total
    assert counted_of(preset="tiny").buffers == 4 * (50_000_000 + total)


def test_a_float32_copy_is_spared_without_zero_in_fp32() -> None:
    total = counted_of("train.zero.stage=0").parameters // 2
    assert counted_of("train.zero.stage=0", "train.precision=fp32").optimizer == 8 * total
    assert counted_of("train.zero.stage=1", "train.precision=fp32").optimizer == 3 * total


def test_in_stage_1_the_optimizer_can_leave_the_device() -> None:
    away = counted_of("train.zero.stage=1", "train.zero.offload_optimizer=true")
    total = away.parameters // 2
    assert (away.gradients, away.optimizer) == (6 * total / 4, 3 * total)
    assert away.host == away.gradients + away.optimizer
    assert away.device == away.parameters + away.activations + away.buffers
    assert counted_of().host == 0


def test_a_micro_batch_of_two_holds_twice_as_much() -> None:
    one, two = (counted_of(f"train.micro_batch_size={size}").activations for size in (1, 2))
    assert two == 2 * one


def test_frozen_parts_have_neither_gradient_nor_optimizer() -> None:
    run = configured(preset="phi35-siglip224", stage="pretrain")
    shape = anatomy(run.model, run.moe)
    connector = count_parameters(shape).connector
    counted = count_memory(shape, run, ranks=4)
    assert (counted.gradients, counted.optimizer) == (connector / 2, 3 * connector)
    short = count_memory(shape, run, ranks=4, tokens=320)
    assert short.activations < counted.activations / 4

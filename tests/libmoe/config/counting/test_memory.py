"""Counted memory against what autograd and DeepSpeed hold."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from libmoe.config.counting import anatomy, count_memory, count_parameters
from libmoe.config.counting.activations import activation_bytes
from libmoe.config.layers import Layer, assignment_layer, resolve
from libmoe.config.schema import RunConfig
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import model_config

EVERYWHERE = ("vision", "connector", "language")
WORKER = Path(__file__).parent / "memory_worker.py"


def configured(*settings: str, preset: str = "tiny", stage: str = "sft") -> RunConfig:
    return resolve(stage, preset, [assignment_layer(setting) for setting in settings]).config


def kept(model: LibmoeForConditionalGeneration, tokens: int, images: int) -> int:
    """Bytes of all tensors that autograd keeps of one row, parameters aside, each once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    alive: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        alive.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    dtype = model.dtype
    ids = torch.full((1, tokens), 30)
    ids[:, : 16 * images] = 3
    pixels = torch.randn(images, 3, 168, 168, dtype=dtype)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(input_ids=ids, pixel_values=pixels, labels=ids)
    return sum(tensor.untyped_storage().nbytes() for address, tensor in alive.items() if address not in own)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["none", "smoe"])
@pytest.mark.parametrize(("tokens", "images"), [(64, 4), (256, 1)])
def test_activations_are_what_autograd_keeps(dtype: torch.dtype, name: str, tokens: int, images: int) -> None:
    run = resolve("sft", "tiny", [Layer("test", {"moe": {"name": name, "where": EVERYWHERE}})]).config
    model = LibmoeForConditionalGeneration(model_config(run, image_token_id=3)).to(dtype).train()
    shape = anatomy(run.model, run.moe)
    counted = activation_bytes(shape, EVERYWHERE, False, dtype.itemsize, 1, tokens, images)
    logits = (
        tokens * shape.language.head.outputs
    )  # their gradient and what the output holds are not autograd's
    counted -= logits * (4 if dtype == torch.float32 else 2 + 4)
    assert counted == pytest.approx(kept(model, tokens, images), rel=0.15)


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


@pytest.mark.parametrize("parameters", ["true", "false"])
def test_the_host_holds_what_is_offloaded(tmp_path: Path, parameters: str) -> None:
    """In the CPU's one memory, what the device would hold lies beside it: weights that are not offloaded."""
    offload = ("train.zero.offload_optimizer=true", f"train.zero.offload_parameters={parameters}")
    settings = ("train.zero.stage=3", 'train.precision="bf16"', *offload)
    held, run = held_by_deepspeed(tmp_path, *settings), configured(*settings)
    counted = count_memory(anatomy(run.model, run.moe), run, ranks=1)
    stays = 0 if parameters == "true" else counted.parameters
    assert held["float32"] + held["bfloat16"] == pytest.approx(counted.host + stays, rel=0.02)


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


def test_frozen_parts_have_neither_gradient_nor_optimizer() -> None:
    run = configured(preset="phi35-siglip224", stage="pretrain")
    shape = anatomy(run.model, run.moe)
    connector = count_parameters(shape).connector
    counted = count_memory(shape, run, ranks=4)
    assert (counted.gradients, counted.optimizer) == (connector / 2, 3 * connector)
    short = count_memory(shape, run, ranks=4, tokens=320)
    assert short.activations < counted.activations / 4

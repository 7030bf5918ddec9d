"""Every algorithm, twenty steps over two real ranks that route differently, against one rank by itself."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from libmoe.config.algorithms import BUILT_IN
from libmoe.config.run import RunSpec
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import model_config

from .algorithms_worker import STAGES, generate, train_alone

MakeSpec = Callable[..., RunSpec]
pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("algorithms_worker.py")
ROOT = Path(__file__).parents[3]
SMALL = {
    "model": {
        "scales": [1],
        "vision": {"config": {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}},
        "language": {
            "config": {
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 8,
                "num_hidden_layers": 1,
                "vocab_size": 512,
            }
        },
    },
    "moe": {"experts": 4, "top_k": 2, "router_std": 0.5, "balance_coefficient": 0.1, "cheap_warmup": 0.3},
}


@pytest.fixture(scope="module")
def folder(make_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both ranks left of every algorithm under every stage."""
    folder = tmp_path_factory.mktemp("two-ranks")
    model_config(make_spec("sft", SMALL).config, image_token_id=511).save_pretrained(folder)
    inherited = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK")}
    environment = {**inherited, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT)}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *torchrun, str(WORKER), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("name", BUILT_IN)
def test_two_ranks_train_as_one_does(folder: Path, name: str) -> None:
    alone = train_alone(json.loads((folder / "config.json").read_text()), name).state_dict()
    for stage in STAGES:
        together = load_file(folder / f"{name}-{stage}" / "model.safetensors")
        expected = {key: alone[key] for key in together}
        torch.testing.assert_close(together, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_saved_generates_the_same(folder: Path, name: str, stage: int) -> None:
    saved = folder / f"{name}-{stage}"
    model = LibmoeForConditionalGeneration.from_pretrained(saved)
    assert generate(model) == json.loads((saved / "tokens.json").read_text())

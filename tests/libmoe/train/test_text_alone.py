"""A rank whose batch holds no image waits for nobody, and learns as one process with all batches would."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from libmoe.moe import set_aux_scale

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("text_alone_worker.py")
ROOT = Path(__file__).parents[3]
STAGES = ["pretrain", "pft", "sft"]
SETTINGS = ("train.global_batch_size=4", "train.micro_batch_size=2", "moe.balance_coefficient=0.5")


def worker():
    spec = importlib.util.spec_from_file_location(WORKER.stem, WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def specs(tmp_path_factory, spec_of):
    """Every stage with its own ZeRO settings and trainable parts; stage 3 with checkpointed activations."""
    folder = tmp_path_factory.mktemp("text-alone")
    checkpointing = {"sft": ("train.activation_checkpointing=true",)}
    return {
        stage: spec_of(folder / stage, stage, *SETTINGS, *checkpointing.get(stage, ())) for stage in STAGES
    }


@pytest.fixture(scope="module")
def ranks(specs, tmp_path_factory):
    """What two ranks trained; to wait for ever is to fail."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(WORKER), str(folder), *(str(spec.write()) for spec in specs.values())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-4000:]
    return {path.stem: load_file(path) for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_learn_as_one_does(stage, specs, ranks):
    tools = worker()
    model = tools.ready(specs[stage])
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=tools.RATE)
    set_aux_scale(1 / 2)
    for step in range(len(tools.STEPS)):
        for batch in tools.batches(step):
            model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    set_aux_scale(1.0)
    one = {name: parameter.detach() for name, parameter in model.named_parameters()}
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learnt >= {name for name in one if not torch.equal(one[name], start[name])}
    assert sum(torch.equal(one[name], start[name]) for name in learnt) <= 1
    torch.testing.assert_close(ranks[f"{stage}-0"], one, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ranks[f"{stage}-1"], ranks[f"{stage}-0"], rtol=0, atol=0)

"""ZeRO-3 over two real ranks that route differently, against one rank without DeepSpeed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from libmoe.config.run import RunSpec

MakeSpec = Callable[..., RunSpec]
pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("zero3_worker.py")
ROOT = Path(__file__).parents[3]
MOE = {
    "balance_coefficient": 0.5,
    "where": ["vision", "connector", "language"],
    "layers": {"language": [1]},
    "expert_noise": 0.01,
    "redrawn": 0.1,
}


@pytest.fixture(scope="module")
def runs(make_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    """What both worlds built and trained, by file name."""
    folder = tmp_path_factory.mktemp("zero3")
    spec = make_spec("sft", {"moe": MOE}).model_copy(update={"run_dir": folder})
    inherited = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK")}
    environment = {**inherited, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT)}
    worker = [str(WORKER), str(spec.write()), str(folder)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command in ([sys.executable, *torchrun, *worker], [sys.executable, *worker]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=270)
        assert done.returncode == 0, done.stderr[-4000:]
    return {path.stem: load_file(path) for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("rank", [0, 1])
def test_every_rank_builds_the_model_that_one_process_builds(
    runs: dict[str, dict[str, Tensor]], rank: int
) -> None:
    torch.testing.assert_close(runs[f"built-2-{rank}"], runs["built-1-0"], rtol=0, atol=0)


def test_two_ranks_train_as_one_does(runs: dict[str, dict[str, Tensor]]) -> None:
    start, one, two = runs["built-1-0"], runs["trained-1-0"], runs["trained-2-0"]
    assert not any(torch.equal(one[name], start[name]) for name in one if "router" in name)
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(runs["trained-2-1"], two, rtol=0, atol=0)

"""`libmoe train` before it trains: the plan on a machine without GPU, and what it refuses."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.entrypoint.launch.conftest import WriteIndex

Train = Callable[..., subprocess.CompletedProcess[str]]
TORCHLESS = "import sys; sys.modules.update(torch=None, transformers=None, wandb=None)\n"


@pytest.fixture
def train(write_index: WriteIndex) -> Train:
    """``train("--dry-run", ...)``: the guide's stage 3 on a few rows, where torch cannot be imported."""
    root = write_index([(1, 100)] * 64).parents[2]
    for name in ("microsoft/Phi-3.5-mini-instruct", "google/siglip-so400m-patch14-224"):
        (root / "models" / name).mkdir(parents=True)

    def run(*args: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", f"{TORCHLESS}from entrypoint.cli import main; main()", "train"]
        stage = ["--stage", "3", "--set", "data.annotations=a", "--data-dir", root]
        environment = {**os.environ, "PATH": "/nowhere", **variables}
        return subprocess.run(
            [*command, *stage, *args], capture_output=True, text=True, env=environment, check=False
        )

    return run


def test_a_plan_needs_neither_gpu_nor_torch(train: Train) -> None:
    done = train("--dry-run", "--gpu-model", "h100", "--gpus", "4", "--json", "--mfu", "0.5")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)["sft"]
    assert (plan["steps"], plan["ranks"], plan["gpu"], plan["assumed_mfu"]) == (2, "4 cuda", "h100", 0.5)
    assert (plan["global_batch_size"], plan["micro_batch_size"], plan["accumulation_steps"]) == (32, 4, 2)
    assert plan["hours"] > 0
    assert "training_run" in plan["flops"]


def test_what_cannot_fit_is_shown_and_refused(train: Train) -> None:
    done = train("--dry-run", "--gpu-model", "l4", "--gpus", "4", "--json")
    assert done.returncode == 78
    assert json.loads(done.stdout)["sft"]["gpu_memory_bytes"] == 23034 * 2**20
    assert "Stage sft does not fit" in done.stderr
    forced = train("--dry-run", "--gpu-model", "l4", "--gpus", "4", "--json", "--force")
    assert forced.returncode == 0
    assert "Training anyway" in forced.stderr


def test_a_run_that_cannot_fit_starts_nothing(train: Train, tmp_path: Path) -> None:
    done = train("--gpu-model", "l4", "--gpus", "cpu", "--run-dir", tmp_path / "run")
    assert (done.returncode, "does not fit" in done.stderr) == (78, True)
    assert not (tmp_path / "run").exists()


def test_layers_without_experts_are_refused_at_once(train: Train) -> None:
    done = train("--dry-run", "--set", 'moe.layers.vision="20-30"')
    assert (done.returncode, "are 0 to 25" in done.stderr) == (78, True)


def test_wandb_is_asked_for_and_not_installed(train: Train) -> None:
    plan = ("--dry-run", "--gpu-model", "h100", "--gpus", "4")
    done = train(*plan, WANDB_PROJECT="demo")
    assert done.returncode == 78
    assert "(WANDB_PROJECT), which is not installed" in done.stderr
    off = train(*plan, "--set", "train.wandb=", WANDB_PROJECT="demo")
    assert off.returncode == 0, off.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "data.max_length=256"), "data.max_length is 256, but an image alone is 256 tokens"),
        (("--set", "moe.plugin=gone.py"), "moe.plugin names the file gone.py, which is not there"),
        (("--set", "moe.top_k=7"), "moe.top_k is 7 but there are only 6 experts"),
        (("--moe", "smoe_share", "--set", "moe.top_k=1"), "no routed expert beside the shared one"),
        (("--moe", "aux_free", "--set", "moe.compat=upstream"), "aux_free has no upstream form"),
        (("--set", "model.vision_feature_layer=-99"), "the tower has 27 layers"),
        (
            ("--set", "train.max_grad_norm=0", "--set", "train.zero.stage=0"),
            "set train.zero.stage=1, or train.max",
        ),
        (("--init-from", "/etc"), "--init-from /etc holds no model"),
    ],
)
def test_what_only_the_last_stage_would_find_is_refused_before_the_first(
    train: Train, words: tuple[str, ...], says: str
) -> None:
    done = train("--dry-run", "--gpu-model", "h100", "--gpus", "4", *words)
    assert (done.returncode, done.stdout) == (78, "")
    assert says in done.stderr


def test_the_stage_before_is_missing_and_named(train: Train, tmp_path: Path) -> None:
    done = train("--gpus", "cpu", "--run-dir", tmp_path / "runs")
    assert done.returncode == 78
    assert "Stage sft starts from the model of stage pft" in done.stderr
    assert "run `libmoe train --stage pft` first" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_volume_that_is_not_there(train: Train, tmp_path: Path) -> None:
    done = train("--dry-run", "--data-dir", tmp_path / "gone")
    assert (done.returncode, done.stderr.count("\n")) == (73, 1)
    assert f"There is no data directory {tmp_path / 'gone'}" in done.stderr


def test_a_tokenizer_that_was_cut_is_bad_data(train: Train, tmp_path: Path) -> None:
    tokenizer = tmp_path / "volume/models/microsoft/Phi-3.5-mini-instruct/tokenizer.json"
    tokenizer.write_text("{")
    done = train("--dry-run", "--gpu-model", "h100", "--gpus", "4")
    assert done.returncode == 65
    assert f"The tokenizer {tokenizer} cannot be read" in done.stderr


def test_the_guides_stage_5_is_one_command(write_index: WriteIndex, tmp_path: Path) -> None:
    """LLaVA-332K, zero3_offload, Phi-3.5, by the guide's own two variables (docs/planning.md)."""
    index = write_index([(1, 100)] * 64)
    volume = index.parents[2]
    index.rename(index.with_name("llava-332k.arrow"))
    volume.rename(tmp_path / "data")
    for name in ("microsoft/Phi-3.5-mini-instruct", "google/siglip-so400m-patch14-224"):
        (tmp_path / "data/models" / name).mkdir(parents=True)
    text = (Path(__file__).parents[3] / "docs/planning.md").read_text()
    command = re.search(r"^TOOLKIT_DIR=\S+ ID_GPUS=(\S+) libmoe (train (?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert command
    words = [*command[2].replace("\\\n", " ").split(), "--dry-run", "--gpu-model", "a100", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", f"{TORCHLESS}from entrypoint.cli import main; main()", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": "/nowhere", "TOOLKIT_DIR": str(tmp_path), "ID_GPUS": command[1]},
    )
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)["sft"]
    assert (plan["data"], plan["ranks"], plan["global_batch_size"]) == ("llava-332k", "4 cuda", 32)
    assert plan["zero"] == "3, optimizer and parameters offloaded"
    assert plan["run_folder"] == str(tmp_path / "data/runs/phi35-siglip224/sft")

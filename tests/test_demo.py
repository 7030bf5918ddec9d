"""The main job from end to end, as a user runs it: prepare, three stages with two ranks, captions."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def libmoe(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from entrypoint.cli import main; main()", *args]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("demo")
    done = libmoe("demo", "--dir", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


def test_the_model_learns_its_photographs(demo: tuple[Path, dict[str, Any], str]) -> None:
    folder, result, _ = demo
    assert result["exact"] >= 22
    assert len(result["captions"]) == 24
    stages = {stage["stage"]: stage for stage in result["stages"]}
    assert list(stages) == ["pretrain", "pft", "sft"]
    assert stages["sft"]["first_loss"] >= 5 * stages["sft"]["last_loss"]
    assert all(stage["last_loss"] < stage["first_loss"] for stage in stages.values())
    assert result["report"] == str(folder / "report.html")
    page = (folder / "report.html").read_text()
    assert [stage for stage in stages if f"<h2>{stage}</h2>" in page] == list(stages)
    assert "Expert load" in page


def test_every_stage_leaves_a_run_folder(demo: tuple[Path, dict[str, Any], str]) -> None:
    runs = demo[0] / "data" / "runs" / "tiny"
    zero = {}
    for stage in ("pretrain", "pft", "sft"):
        spec = json.loads((runs / stage / "run.json").read_text())
        zero[stage] = spec["config"]["train"]["zero"]
        assert spec["world"] == {"device": "cpu", "processes": 2, "nodes": 1}
        assert spec["provenance"]["train.learning_rate"] == "preset tiny"
        assert spec["versions"]["torch"].startswith("2.13")
        assert len(spec["annotations"]["sha256"]) == 64
        assert list((runs / stage / "tensorboard").iterdir())
        assert (runs / stage / "model" / "config.json").is_file()
        steps = [json.loads(line) for line in (runs / stage / "metrics.jsonl").read_text().splitlines()]
        assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    assert zero["pretrain"]["stage"] == 2
    assert zero["pft"] == {"stage": 3, "offload_optimizer": True, "offload_parameters": True}
    assert zero["sft"] == {"stage": 3, "offload_optimizer": False, "offload_parameters": False}


def test_a_second_demo_does_nothing_again(demo: tuple[Path, dict[str, Any], str]) -> None:
    folder, first, _ = demo
    data = folder / "data"
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.suffix in (".jpg", ".jpeg")}
    again = libmoe("demo", "--dir", str(folder), "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == first
    assert "nothing to fetch, nothing to unpack" in again.stderr
    assert again.stderr.count("already done") == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_checkpoint_of_another_width_is_refused(demo: tuple[Path, dict[str, Any], str]) -> None:
    data = demo[0] / "data"
    dense = data / "runs" / "tiny" / "pretrain" / "model"
    done = libmoe(
        "train", "--stage", "pft", "--preset", "tiny", "--gpus", "cpu", "--data-dir", str(data),
        "--run-dir", str(demo[0] / "other"), "--init-from", str(dense),
        "--set", "model.language.config.hidden_size=64",
    )  # fmt: skip
    assert done.returncode == 78
    assert "hidden_size is 128 in the checkpoint" in done.stderr.splitlines()[-1]
    assert not (demo[0] / "other" / "pft" / "model").exists()

"""Exit codes and sentences of a rank that ends early."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from libmoe.config.errors import ConfigError, DataError
from libmoe.train.failure import explain, report_failure

REPOSITORY = Path(__file__).parents[3]


class Bad(Dataset):
    def __getitem__(self, number):
        raise DataError("The image x.jpg of row 'r' is missing: run `libmoe prepare` again.")

    def __len__(self):
        return 1


@pytest.mark.parametrize("workers", [0, 1])
def test_our_sentence_survives_a_loader_worker(workers):
    with pytest.raises(DataError) as caught:
        next(iter(DataLoader(Bad(), num_workers=workers)))
    assert explain(caught.value) == (65, "The image x.jpg of row 'r' is missing: run `libmoe prepare` again.")


def test_a_full_disk_and_a_bug():
    full = OSError(28, "No space left on device", "/data/runs/x")
    assert explain(full) == (
        73,
        "Cannot write or read /data/runs/x: No space left on device; check the disk and run again.",
    )
    assert explain(KeyError("x")) == (70, "Training stopped with KeyError: 'x'")


def test_the_first_failure_is_the_cause(tmp_path):
    assert report_failure(tmp_path, 1, DataError("Bad image.")) == 65
    assert report_failure(tmp_path, 0, RuntimeError("Connection closed by peer")) == 70
    (path,) = (tmp_path / "failures").iterdir()
    assert path.name == "rank-1.json"
    assert json.loads(path.read_text()) == {"exit_code": 65, "message": "Bad image."}


def start(*arguments, world="1"):
    return subprocess.run(
        [sys.executable, "-m", "libmoe.train", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "WORLD_SIZE": world},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_no_run_json(tmp_path):
    done = start(tmp_path / "run.json")
    report = json.loads((tmp_path / "failures/rank-0.json").read_text())
    assert done.returncode == report["exit_code"] == ConfigError.exit_code
    assert "Cannot read" in report["message"]
    assert done.stdout == ""


def test_another_number_of_ranks_than_planned(tmp_path, spec_of):
    done = start(spec_of(tmp_path, "pretrain").write(), world="3")
    report = json.loads((tmp_path / "failures/rank-0.json").read_text())
    assert done.returncode == 78
    assert report["message"] == "3 training processes were started for a run of 2: use `libmoe train`."


def test_no_argument_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = start()
    assert done.returncode == 2
    assert not [*tmp_path.iterdir()]
    assert "start it with `libmoe train`" in done.stderr

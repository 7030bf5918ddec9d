"""The batch script for Slurm; tests/system/test_slurm.py trains with it."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from libmoe.config.errors import ConfigError, TryAgainError
from tests.compose import command_line, slurm

SCRIPT = Path(__file__).parents[2] / "compose/slurm/train.sbatch"
OPTIONS = {
    "job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "mem", "time",
    "output", "open-mode", "requeue", "signal",
}  # fmt: skip
# Says where each task believes to be, by libmoe's own rules, and ends as the test wants.
LIBMOE = """
import json, os, pathlib, sys
from entrypoint.launch.nodes.settings import find_place
place = find_place({}, os.environ)
said = {"words": sys.argv[1:], "nodes": place.nodes, "rank": place.rank, "where": place.where}
pathlib.Path(os.environ["SAID"], f"{place.rank}.json").write_text(json.dumps(said))
sys.exit(int(os.environ["CODES"].split(",")[place.rank]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    slurm.install(tmp_path)
    slurm.executable(tmp_path / "libmoe", LIBMOE)
    return tmp_path


def submit(folder: Path, codes: str, *words: str, **variables: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, what the tasks said, and what the script said."""
    environment = slurm.environment(folder, len(codes.split(",")), CODES=codes, SAID=str(folder), **variables)
    environment["PYTHONPATH"] = str(SCRIPT.parents[2])
    done = subprocess.run([SCRIPT, *words], env=environment, capture_output=True, text=True)
    said = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return done.returncode, said, done.stderr


def test_every_node_finds_its_place(folder: Path) -> None:
    code, said, _ = submit(folder, "0,0,0", "--stage", "all", DATA_DIR="/mnt/data")
    assert code == 0
    assert [(task["nodes"], task["rank"], task["where"]) for task in said] == [
        (3, rank, "127.0.0.1:29500") for rank in range(3)
    ]
    assert command_line.complaints(said[0]["words"], {}) == []
    assert said[0]["words"][-2:] == ["--stage", "all"]
    assert not (folder / "requeued").exists()


def test_in_a_container(folder: Path) -> None:
    """Apptainer gets the folder as /data and hands the rest of its words on."""
    words = 'at = sys.argv.index("libmoe"); os.environ["OWN"] = " ".join(sys.argv[1:at])'
    slurm.executable(folder / "apptainer", f"import os, sys; {words}; os.execvp('libmoe', sys.argv[at:])")
    code, said, _ = submit(folder, "0", "--stage=1", DATA_DIR="/mnt/data", IMAGE="libmoe.sif")
    assert code == 0
    assert said[0]["words"][:3] == ["train", "--data-dir", "/data"]


def test_a_saved_run_goes_back_to_the_queue(folder: Path) -> None:
    again = TryAgainError.exit_code
    code, _, stderr = submit(folder, f"{again},{again}", "--stage=1", DATA_DIR="/mnt/data")
    assert code == 0
    assert (folder / "requeued").read_text() == "requeue 4711"
    assert "4711" in stderr


@pytest.mark.parametrize(
    ("codes", "restarts", "code"),
    [
        (f"{TryAgainError.exit_code},{ConfigError.exit_code}", "0", ConfigError.exit_code),
        ("0,137", "0", 137),
        (f"{TryAgainError.exit_code},0", "20", TryAgainError.exit_code),
    ],
)
def test_what_does_not_go_back(folder: Path, codes: str, restarts: str, code: int) -> None:
    found, *_ = submit(folder, codes, "--stage=1", DATA_DIR="/mnt/data", SLURM_RESTART_COUNT=restarts)
    assert found == code
    assert not (folder / "requeued").exists()


def test_the_volume_has_to_be_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_DIR", raising=False)
    code, said, stderr = submit(folder, "0", "--stage=1")
    assert (code, said) == (1, [])
    assert "DATA_DIR" in stderr


def test_directives() -> None:
    text = SCRIPT.read_text()
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, flags=re.MULTILINE))
    assert set(directives) == OPTIONS
    assert text.index("#SBATCH") < text.index("set -e"), "sbatch reads none after the first command"
    assert directives["ntasks-per-node"] == "1"
    assert re.fullmatch(r"TERM@\d+", directives["signal"])
    assert os.access(SCRIPT, os.X_OK)

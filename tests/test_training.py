"""`libmoe train` on one machine and two, killed, cut off, and without room, as a user meets it."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from entrypoint.demo import Demo
from entrypoint.launch.resume import choose_checkpoint
from entrypoint.ports import KeptPort
from tests.entrypoint.mounts import mounted

KILLS = int(os.environ.get("LIBMOE_KILLS", "1"))
"""How often the three-stage run is killed; more than a few take minutes."""
ROOT = Path(__file__).parents[1]
STAGES = ("pretrain", "pft", "sft")
TINY = ("--preset", "tiny", "--gpus", "cpu")
STEPS = 4


@dataclass
class Command:
    """A `libmoe train` that runs, and what it says."""

    process: subprocess.Popen[str]
    stderr: Path

    def end(self, seconds: float = 240) -> tuple[int, str]:
        """Exit code and what it said."""
        return self.process.wait(seconds), self.stderr.read_text()

    def ranks(self) -> list[int]:
        """The processes of its ranks."""
        return [pid for pid, parent in processes() if parent == self.process.pid]

    def kill(self) -> None:
        """As a machine ends that loses its power."""
        pids = [self.process.pid, *descendants(self.process.pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def processes() -> list[tuple[int, int]]:
    """Every living process and its parent."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                found.append((int(path.parent.name), int(parent)))
    return found


def descendants(pid: int) -> list[int]:
    children = [child for child, parent in processes() if parent == pid]
    return [*children, *(pid for child in children for pid in descendants(child))]


def wait_until(happened: Callable[[], Any], command: Command | None = None) -> None:
    until = time.monotonic() + 240
    while not happened():
        assert command is None or command.process.poll() is None, command.stderr.read_text()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with the sample."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    demo.prepare(lambda event: None)
    return demo.volume.root


@pytest.fixture
def train(data: Path, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts `libmoe train`; what still runs at the end is killed."""
    started: list[Command] = []

    def start(runs: Path, *options: str) -> Command:
        stderr = tmp_path / f"stderr-{len(started)}"
        words = ("train", *TINY, "--data-dir", str(data), "--run-dir", str(runs), *options)
        process = subprocess.Popen(
            [sys.executable, "-c", "from entrypoint.cli import main; main()", *words],
            stdout=subprocess.DEVNULL,
            stderr=stderr.open("w"),
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            text=True,
        )
        started.append(Command(process, stderr))
        return started[-1]

    yield start
    for command in started:
        if command.process.poll() is None:
            command.kill()


def result(runs: Path) -> dict[str, Any]:
    """What must be the same bit for bit: every step's numbers, and the weights of every stage."""
    timing = {"seconds", "tokens_per_s", "memory_bytes"}
    found: dict[str, Any] = {}
    for stage in STAGES:
        lines = [json.loads(line) for line in (runs / stage / "metrics.jsonl").read_text().splitlines()]
        found[stage] = [{key: line[key] for key in line if key not in timing} for line in lines]
        weights = (runs / stage / "model/model.safetensors").read_bytes()
        found[f"{stage} weights"] = hashlib.sha256(weights).hexdigest()
    return found


def steps_of(runs: Path) -> int:
    """Steps that the stages of a run have written, together."""
    return sum(len(path.read_text().splitlines()) for path in runs.glob("*/metrics.jsonl"))


ALL = ("--stage", "all", "--processes", "2", "--max-steps", str(STEPS), "--set", "train.save_steps=2")


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of a run that nobody kills."""
    runs = tmp_path_factory.mktemp("undisturbed")
    words = ("train", *TINY, "--data-dir", str(data), "--run-dir", str(runs), *ALL)
    command = [sys.executable, "-c", "from entrypoint.cli import main; main()", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return result(runs)


@pytest.mark.slow
def test_killed_at_random_steps_and_resumed_is_not_killed(
    undisturbed: dict[str, Any], train: Callable[..., Command], tmp_path: Path
) -> None:
    chance = random.Random(os.environ.get("LIBMOE_KILLS_SEED"))
    runs = tmp_path / "runs"
    moments = sorted(chance.sample(range(1, 3 * STEPS), min(KILLS, 3 * STEPS - 1)))
    for moment in moments:
        command = train(runs, *ALL)
        wait_until(lambda moment=moment: steps_of(runs) >= moment or (runs / "sft/model").exists())
        time.sleep(chance.uniform(0, 0.3))  # also while it saves
        command.kill()
    code, said = train(runs, *ALL).end()
    assert code == 0, said
    assert result(runs) == undisturbed, f"killed after {moments} steps"


@pytest.mark.slow
def test_two_nodes_train_one_is_lost_and_comes_back(train: Callable[..., Command], tmp_path: Path) -> None:
    """Two launchers on this machine; the second dies as a machine does, the first waits for it."""
    runs = tmp_path / "runs"
    settings = ("--stage", "1", "--max-steps", "16", "--set", "train.save_steps=4", "--max-restarts", "1")
    port = KeptPort()
    where = ("--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", str(port.number))
    first = train(runs, *settings, *where, "--node-rank", "0")
    second = train(runs, *settings, *where, "--node-rank", "1")
    wait_until(lambda: list(runs.glob("pretrain/checkpoints/step-*")), first)
    ranks = [*first.ranks(), *second.ranks()]
    assert len(ranks) == 2
    second.kill()
    wait_until(lambda: "Restart 1 of 1" in first.stderr.read_text(), first)
    assert "Node 1 (127.0.0.1) was lost" in first.stderr.read_text()
    assert not set(ranks) & {pid for pid, _ in processes()}
    again = train(runs, *settings, *where, "--node-rank", "1")
    assert again.end()[0] == 0
    code, said = first.end()
    assert code == 0, said
    assert "continuing from step-" in said
    metrics = (runs / "pretrain/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics] == list(range(1, 17))
    assert (runs / "pretrain/log-node-1.txt").is_file()
    port.close()


def test_a_disk_that_fills_up_while_saving(train: Callable[..., Command], tmp_path: Path) -> None:
    """Room for one checkpoint and a half."""
    runs = tmp_path / "small"
    with mounted(runs, "size=10m"):
        command = train(
            runs, "--stage", "1", "--processes", "2", "--max-steps", "4",
            "--set", "train.save_steps=2", "--set", "train.save_total_limit=2",
        )  # fmt: skip
        code, said = command.end()
        assert code == 73, said
        assert "is full" in said.splitlines()[-1]
        resume = choose_checkpoint(runs / "pretrain", "auto")
        assert resume.checkpoint == runs / "pretrain/checkpoints/step-2"
        assert resume.passed_over == ()
        assert not [pid for pid, _ in processes() if str(runs) in command_line(pid)]


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


@pytest.mark.slow
def test_another_number_of_ranks_goes_on(train: Callable[..., Command], tmp_path: Path) -> None:
    """The same losses but for rounding, from a checkpoint that was converted."""
    runs = tmp_path / "runs"
    settings = ("--stage", "1", "--max-steps", "5", "--set", "train.save_steps=3")
    assert train(runs, *settings, "--set", "train.save_total_limit=2", "--processes", "2").end()[0] == 0
    before = steps(runs)
    for gone in ("model", "checkpoints/step-5"):
        shutil.rmtree(runs / "pretrain" / gone)
    code, said = train(runs, *settings, "--processes", "1").end()
    assert code == 0, said
    assert "continuing from step-3" in said
    assert "2 ranks saved it, and 1 go on" in said
    after = steps(runs)
    assert after[:3] == before[:3]
    for old, new in zip(before[3:], after[3:], strict=True):
        assert old["tokens"] == new["tokens"]
        assert new["lr"] == old["lr"]
        assert new["loss"] == pytest.approx(old["loss"], rel=1e-4)
        assert new["grad_norm"] == pytest.approx(old["grad_norm"], rel=1e-3)
    assert not (runs / "pretrain/checkpoints/.universal").exists()


def steps(runs: Path) -> list[dict[str, Any]]:
    """What stage 1 measured."""
    return [json.loads(line) for line in (runs / "pretrain/metrics.jsonl").read_text().splitlines()]

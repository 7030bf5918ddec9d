"""Exit codes and sentences of a rank that ends early."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset

from libmoe.config.errors import ConfigError, DataError, TryAgainError
from libmoe.config.rank_failure import Cause, RankFailure
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
    assert explain(caught.value) == RankFailure(
        Cause.FAILED,
        65,
        "The image x.jpg of row 'r' is missing: run `libmoe prepare` again.",
    )


def test_a_full_disk_and_a_bug():
    assert explain(OSError(5, "Input/output error", "/data/runs/x")) == RankFailure(
        Cause.FAILED,
        73,
        "Cannot write or read /data/runs/x: Input/output error; check the disk and run again.",
    )
    assert explain(KeyError("x")) == RankFailure(Cause.FAILED, 70, "Training stopped with KeyError: 'x'")


class DistNetworkError(dist.DistError):
    """As torch raises it."""


@pytest.mark.parametrize(
    ("error", "code", "cause", "sentence"),
    [
        (
            OSError(28, "No space left on device", "/data/x"),
            73,
            Cause.FAILED,
            r"is full \(/data/x\): make room.*whole",
        ),
        (OSError(122, "Disk quota exceeded"), 73, Cause.FAILED, "is full: make room"),
        (
            RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 8 vs 1"),
            73,
            Cause.FAILED,
            "is full",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried"),
            78,
            Cause.FAILED,
            "The GPU ran.*offload_optimizer=true",
        ),
        (MemoryError(), 78, Cause.FAILED, "This machine ran out of memory.*micro_batch_size"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
            *(78, Cause.FAILED, "This machine ran out of memory.*micro_batch_size"),
        ),
        (
            RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]"),
            75,
            Cause.LOST_RANK,
            "was lost",
        ),
        (DistNetworkError("The client socket has timed out"), 75, Cause.LOST_RANK, "was lost"),
        (TryAgainError("Saved at step 3."), 75, Cause.INTERRUPTED, "Saved"),
    ],
)
def test_each_failure_has_its_code_and_says_what_to_do(error, code, cause, sentence):
    found = explain(error)
    assert (found.exit_code, found.cause) == (code, cause)
    assert re.search(sentence, found.message)


def test_every_rank_says_what_it_saw(tmp_path):
    assert report_failure(tmp_path, 1, DataError("Bad image.")) == 65
    assert report_failure(tmp_path, 0, RuntimeError("Connection closed by peer")) == 75
    found = [RankFailure.read(tmp_path, rank) for rank in (0, 1)]
    assert [failure.cause for failure in found] == [Cause.LOST_RANK, Cause.FAILED]
    assert found[1].time <= found[0].time
    assert found[1].message == "Bad image."
    assert RankFailure.read(tmp_path, 2) is None


def start(*arguments, world="1"):
    return subprocess.run(
        [sys.executable, "-m", "libmoe.train", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "WORLD_SIZE": world},
        capture_output=True,
        text=True,
        timeout=540,
    )


def test_no_run_json(tmp_path):
    done = start(tmp_path / "run.json")
    failure = RankFailure.read(tmp_path, 0)
    assert done.returncode == failure.exit_code == ConfigError.exit_code
    assert "Cannot read" in failure.message
    assert done.stdout == ""


def test_another_number_of_ranks_than_planned(tmp_path, spec_of):
    done = start(spec_of(tmp_path, "pretrain").write(), world="3")
    failure = RankFailure.read(tmp_path, 0)
    assert done.returncode == 78
    assert failure.message == "3 training processes were started for a run of 2: use `libmoe train`."


def test_no_argument_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = start()
    assert done.returncode == 2
    assert not [*tmp_path.iterdir()]
    assert "start it with `libmoe train`" in done.stderr


@pytest.mark.parametrize(
    ("ended_by", "code", "cause", "says"),
    [
        ("Terminated. ", 75, Cause.LOST_RANK, "told to end"),
        (
            "Killed. ",
            75,
            Cause.KILLED,
            r"ended by a signal \(Killed\): memory ran out \(lower data.workers\), or",
        ),
        ("Bus error. It is possible that", 78, Cause.FAILED, "--shm-size=16g, or set data.workers=0"),
    ],
)
def test_a_loader_that_was_ended_says_by_what(ended_by, code, cause, says):
    """As torch tells it: the signal is the cause of what is raised."""
    told = RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")
    assert explain(told).exit_code == 70
    told.__cause__ = RuntimeError(f"DataLoader worker (pid 7) is killed by signal: {ended_by}")
    found = explain(told)
    assert (found.exit_code, found.cause) == (code, cause)
    assert re.search(says, found.message)


class Killed(Dataset):
    def __getitem__(self, number):
        os.kill(os.getpid(), signal.SIGKILL)

    def __len__(self):
        return 1


def test_torch_tells_it_so():
    with pytest.raises(RuntimeError) as caught:
        next(iter(DataLoader(Killed(), num_workers=1)))
    found = explain(caught.value)
    assert (found.exit_code, found.cause) == (75, Cause.KILLED)

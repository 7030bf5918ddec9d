"""Several nodes as containers on a network of their own, started as an Indexed Job starts its pods."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from entrypoint.sample.hub import Answer, Hub, Library, Request

if TYPE_CHECKING:
    from tests.system.conftest import Image

    Serve = Callable[[Callable[[Request], Answer]], AbstractContextManager[Hub]]

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

HANGS = 600
"""Seconds that nothing takes, on however slow a machine."""
TRAIN = ("train", "--stage", "1", "--preset", "tiny", "--gpus", "cpu")


@pytest.fixture
def network(docker: str) -> Iterator[str]:
    """A network that only these containers are on."""
    name = f"libmoe-test-{uuid.uuid4().hex[:8]}"
    subprocess.run([docker, "network", "create", "--internal", name], check=True, capture_output=True)
    yield name
    subprocess.run([docker, "network", "rm", name], check=True, capture_output=True)


@pytest.fixture
def prepared(image: Image, volume: Path, library: Library, serve: Serve) -> Path:
    """A volume with stage 1's data."""
    with serve(library.answer) as hub:
        done = image.run("prepare", "--stage", "1", "--catalog", "sample", "--mirror", hub.url, data=volume)
    assert done.returncode == 0, done.stderr
    return volume


@contextlib.contextmanager
def nodes(image: Image, network: str, data: Path, count: int, *options: str) -> Iterator[list[str]]:
    """The containers of a job, while the context lasts."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                image.start(
                    *TRAIN,
                    *options,
                    data=data,
                    options=(
                        *("--network", network, "--network-alias", f"job-{index}"),
                        *("--env", f"JOB_COMPLETION_INDEX={index}", "--env", f"LIBMOE_TRAIN_NNODES={count}"),
                        *("--env", "LIBMOE_TRAIN_MASTER_ADDR=job-0", "--env", "OMP_NUM_THREADS=1"),
                    ),
                )
            )
            for index in range(count)
        ]


def end(image: Image, container: str) -> tuple[int, str]:
    """Exit code, and all that it said."""
    wait = subprocess.run([image.docker, "wait", container], capture_output=True, text=True, timeout=HANGS)
    logs = subprocess.run([image.docker, "logs", container], capture_output=True, text=True)
    return int(wait.stdout), logs.stdout + logs.stderr


def test_three_nodes_train(image: Image, network: str, prepared: Path) -> None:
    options = ("--max-steps", "2", "--set", "train.global_batch_size=12")
    with nodes(image, network, prepared, 3, *options) as containers:
        for container in containers:
            code, said = end(image, container)
            assert code == 0, said
    run = prepared / "runs/tiny/pretrain"
    assert json.loads((run / "run.json").read_text())["world"] == {
        "device": "cpu",
        "processes": 1,
        "nodes": 3,
    }
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert (run / "log-node-2.txt").is_file()
    assert (run / "model/config.json").is_file()


def test_a_node_that_is_cut_off_ends_both(image: Image, network: str, prepared: Path) -> None:
    metrics = prepared / "runs/tiny/pretrain/metrics.jsonl"
    with nodes(image, network, prepared, 2, "--max-steps", "100000") as (first, second):
        until = time.monotonic() + HANGS
        while not (metrics.exists() and metrics.read_text()):
            assert time.monotonic() < until, end(image, first)[1]
            time.sleep(0.1)
        cut = [image.docker, "network", "disconnect", network, second]
        subprocess.run(cut, check=True, capture_output=True)
        for container, lost in ((first, "Node 1"), (second, "Node 0")):
            code, said = end(image, container)
            assert code == 75, said
            assert f"{lost} (" in said.splitlines()[-1]
            assert "was lost" in said.splitlines()[-1]

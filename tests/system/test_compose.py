"""The compose files, run: the demo up to its page, two nodes together, and the curves in a browser."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from entrypoint.ports import free_port
from entrypoint.sample.hub import Answer, Hub, Library, Request

if TYPE_CHECKING:
    from tests.system.conftest import Image

    Serve = Callable[[Callable[[Request], Answer]], AbstractContextManager[Hub]]

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

COMPOSE = Path(__file__).parents[2] / "compose"


@dataclass
class Project:
    """``docker compose`` on some files, with the volume and the image of the test."""

    command: list[str]
    environment: dict[str, str]
    files: tuple[Path, ...] = ()

    def __call__(self, *words: str, **environment: str) -> str:
        """What it prints."""
        files = [word for file in self.files for word in ("--file", str(file))]
        done = subprocess.run(
            [*self.command, "--project-name", "libmoe-test", *files, *words],
            env=os.environ | self.environment | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def project(image: Image, volume: Path) -> Iterator[Project]:
    """Removed after the test, whatever happened."""
    made = Project(
        _compose(image.docker),
        {
            "IMAGE": image.name,
            "DATA_DIR": str(volume),
            "RUN_AS": f"{image.user[0]}:{image.user[1]}",
            "SHM_SIZE": "64mb",
            "OMP_NUM_THREADS": "1",
        },
    )
    yield made
    made("down", "--volumes")


def _compose(docker: str) -> list[str]:
    """Docker's plugin, or the program that came before it."""
    for words in ([docker, "compose"], ["docker-compose"]):
        try:
            subprocess.run([*words, "version"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return words
    pytest.fail("There is neither `docker compose` nor docker-compose: install docker-compose or its plugin.")


def without_gpus(rendered: str, folder: Path) -> Path:
    """What compose makes of its files, less what an engine without GPUs may refuse."""
    content: dict[str, Any] = yaml.safe_load(rendered)
    for name in ("train", "train-1"):
        for key in ("deploy", "ulimits"):
            del content["services"][name][key]
    path = folder / "compose.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_demo_up_to_its_page(project: Project, volume: Path) -> None:
    project.files = (COMPOSE / "demo.yaml",)
    project("run", "--rm", "report", LIBMOE_TRAIN_MAX_STEPS="2")
    page = (volume / "runs/tiny/report.html").read_text()
    assert all(stage in page for stage in ("pretrain", "pft", "sft"))
    project("run", "--rm", "--no-deps", "generate")


def test_two_nodes_and_the_curves(
    project: Project, image: Image, volume: Path, tmp_path: Path, library: Library, serve: Serve
) -> None:
    with serve(library.answer) as hub:
        sample = ("prepare", "--stage", "1", "--catalog", "sample", "--mirror", hub.url)
        done = image.run(*sample, data=volume)
        assert done.returncode == 0, done.stderr

    project.environment |= {"STAGE": "1", "PRESET": "tiny", "NODE_0_GPUS": "cpu", "NODE_1_GPUS": "cpu"}
    files = COMPOSE / "compose.yaml", COMPOSE / "two-nodes.yaml"
    project.files = files
    project.files = (without_gpus(project("config"), tmp_path),)
    said = project("up", "--no-deps", "train", "train-1")
    run = volume / "runs/tiny/pretrain"
    assert (run / "model/config.json").is_file(), said
    assert json.loads((run / "run.json").read_text())["world"]["nodes"] == 2
    assert (run / "log-node-1.txt").is_file()

    port = str(free_port())
    project.files = files
    curves = ("--profile", "tensorboard", "up", "--detach", "--no-deps", "tensorboard")
    project(*curves, TENSORBOARD_PORT=port)
    address = f"http://127.0.0.1:{port}/data/runs"
    assert _get(address) == ["tiny/pretrain/tensorboard"]


def _get(address: str) -> Any:
    """The answer of a server that may still be starting, once it has one."""
    until = time.monotonic() + 600
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                found = json.load(answer)
        except OSError:
            found = None
        if found:
            return found
        assert time.monotonic() < until, f"{address} does not answer"
        time.sleep(0.5)

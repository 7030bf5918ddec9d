"""The main job in the image: prepare an empty volume, then train all stages on it, with the least rights."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from entrypoint.sample.hub import Answer, Hub, Library, Request

if TYPE_CHECKING:
    from tests.system.conftest import Image

    Serve = Callable[[Callable[[Request], Answer]], AbstractContextManager[Hub]]

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
STAGES = ("pretrain", "pft", "sft")


def owners(folder: Path) -> set[tuple[int, int]]:
    """Who owns the files below a folder."""
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in folder.rglob("*")}


def prepare(mirror: str, stage: str = "all") -> tuple[str, ...]:
    """The command that fetches the sample."""
    return ("prepare", "--stage", stage, "--catalog", "sample", "--mirror", mirror)


def test_prepare_then_train(image: Image, volume: Path, library: Library, serve: Serve) -> None:
    with serve(library.answer) as hub:
        done = image.run(*prepare(hub.url), data=volume)
        assert done.returncode == 0, done.stderr
        sent = hub.bytes_sent
        assert sent > 0
        again = image.run(*prepare(hub.url), data=volume)
        assert again.returncode == 0, again.stderr
        assert hub.bytes_sent == sent, "a second prepare fetched something"

    train = ("train", "--stage", "all", "--preset", "tiny", "--gpus", "cpu", "--processes", "2", "--json")
    alone = ("--network", "none", "--env", "OMP_NUM_THREADS=1")
    done = image.run(*train, "--max-steps", "3", data=volume, options=alone)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == set(STAGES)

    runs = volume / "runs" / "tiny"
    for stage in STAGES:
        losses = [json.loads(line) for line in (runs / stage / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in losses] == [1, 2, 3]
        assert (runs / stage / "run.json").is_file()
        assert (runs / stage / "model" / "config.json").is_file()
    assert owners(volume) == {image.user}


def test_a_volume_without_owner(image: Image, library: Library, serve: Serve) -> None:
    """A new Docker volume gets the rights that /data has in the image: any user writes there."""
    with serve(library.answer) as hub:
        done = image.run(*prepare(hub.url, "1"))
    assert done.returncode == 0, done.stderr


def test_the_script_behind_make(image: Image, tmp_path: Path, library: Library, serve: Serve) -> None:
    """`make prepare` writes as the user who calls it, in a folder it makes itself."""
    variables = os.environ | {"IMAGE": image.name, "DOCKER": image.docker, "DATA_DIR": str(tmp_path / "new")}
    with serve(library.answer) as hub:
        command = [ROOT / "docker/run", *prepare(hub.url, "1")]
        done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert owners(tmp_path) == {(os.getuid(), os.getgid())}

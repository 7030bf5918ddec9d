"""The Kubernetes specs, acted out: every pod of a rendered Job is a container of the real image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from entrypoint.sample.hub import Answer, Hub, Library, Request
from libmoe.config.errors import ConfigError, TryAgainError
from tests.compose.kustomize import above
from tests.compose.specs.work import Work, works
from tests.system.cluster import Cluster, Controller

if TYPE_CHECKING:
    from tests.system.conftest import Image

    Serve = Callable[[Callable[[Request], Answer]], AbstractContextManager[Hub]]

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

LOST = 137
TIMING = {"seconds", "tokens_per_s", "memory_bytes"}


@pytest.fixture
def cluster(docker: str, volume: Path) -> Iterator[Cluster]:
    with Cluster(docker, volume) as made:
        yield made


@pytest.fixture
def job(image: Image, tmp_path: Path) -> Callable[..., Work]:
    """A Job of ours under a kustomization of a user, who has no GPUs."""

    def render(folder: str, change: dict[int, str], more: Sequence[str], **fields: Any) -> Work:
        path = "/spec/template/spec/containers/0"
        operations = [
            *({"op": "replace", "path": f"{path}/args/{at}", "value": word} for at, word in change.items()),
            *({"op": "add", "path": f"{path}/args/-", "value": word} for word in more),
            {"op": "replace", "path": "/spec/template/spec/nodeSelector", "value": {}},
        ]
        name, _, tag = image.name.partition(":")
        images = [{"name": "libmoe", "newName": name, "newTag": tag}]
        patches = [{"target": {"kind": "Job"}, "patch": json.dumps(operations)}]
        overlay = tmp_path / f"overlay-{len(list(tmp_path.iterdir()))}"
        overlay.mkdir()
        (work,) = works(above(overlay, [folder], patches=patches, images=images, **fields))
        return work

    return render


@pytest.fixture
def prepared(cluster: Cluster, job: Callable[..., Work], library: Library, serve: Serve) -> Path:
    """The volume, after several pods have prepared it, each its share, and one has verified it."""
    sample = {1: "--stage=1", 2: "--catalog=sample"}
    with serve(library.answer) as hub:
        shares = job("overlays/prepare-sharded", sample, [f"--mirror={hub.url}"])
        with Controller(cluster, shares) as controller:
            controller.until_end()
    assert sorted(controller.ended) == [(index, 0) for index in range(shares.pods)], controller.said()
    with Controller(cluster, job("base/verify", sample, [])) as controller:
        controller.until_end()
    assert controller.ended == [(0, 0)], controller.said()
    return cluster.volume


def training(job: Callable[..., Work], name: str) -> Work:
    """The Job of two nodes, under a prefix and in a run folder of its own."""
    tiny = {1: "--stage=1", 2: "--preset=tiny"}
    more = ["--gpus=cpu", "--set=train.save_steps=4", f"--run-dir=/data/runs/{name}"]
    return job("overlays/train-nodes", tiny, more, namePrefix=f"{name}-")


def losses(run: Path) -> list[dict[str, Any]]:
    """What every step wrote, but for the time it took."""
    lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").is_file() else []
    steps = [json.loads(line) for line in lines]
    return [{key: value for key, value in step.items() if key not in TIMING} for step in steps]


def test_two_nodes_lose_a_pod_and_a_machine_and_end_as_if_nothing_had_been(
    cluster: Cluster, prepared: Path, job: Callable[..., Work]
) -> None:
    with Controller(cluster, training(job, "calm")) as controller:
        controller.until_end()
    assert sorted(controller.ended) == [(0, 0), (1, 0)], controller.said()

    run = prepared / "runs/rough/pretrain"
    with Controller(cluster, training(job, "rough")) as controller:
        controller.until(lambda: len(losses(run)) >= 5)
        controller.lose(1)
        controller.until(lambda: "  step " in controller.said().partition("continuing from")[2])
        controller.drain(0)
        controller.until_end()

    again = TryAgainError.exit_code
    assert controller.ended[0] == (1, LOST), controller.said()
    assert sorted(controller.ended[1:]) == [(0, 0), (0, again), (1, 0), (1, again)], controller.said()
    assert controller.counted == 2  # the lost pod, and the one that had to end with the drained
    assert losses(run) == losses(prepared / "runs/calm/pretrain")
    assert (run / "model/config.json").is_file()


def test_a_job_that_cannot_work_is_not_tried_again(cluster: Cluster, job: Callable[..., Work]) -> None:
    with Controller(cluster, job("base/train", {2: "--preset=tinny"}, ["--gpus=cpu"])) as controller:
        controller.until_end()
    assert controller.failed
    assert controller.ended == [(0, ConfigError.exit_code)], controller.said()
    assert "did you mean 'tiny'" in controller.said()

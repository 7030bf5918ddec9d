"""The compose files say what they mean; tests/system/test_compose.py runs them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compose.compose_rules import COMPOSE, Services, complaints, environment, services, variables

FILES = sorted(COMPOSE.glob("*.yaml"))
USES = [("compose.yaml",), ("compose.yaml", "two-nodes.yaml"), ("demo.yaml",)]
EXAMPLE = (COMPOSE / ".env.example").read_text()


def test_schema() -> None:
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, *FILES], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("files", USES, ids=" ".join)
def test_rules(files: tuple[str, ...]) -> None:
    laid = services(*files)
    assert {"prepare", "train"} <= set(laid)
    assert complaints(laid) == []


def test_the_example_has_every_variable_and_its_default() -> None:
    given = {name for file in FILES for name in variables(file.read_text())}
    assigned = dict(line.split("=", 1) for line in EXAMPLE.splitlines() if "=" in line and line[0] != "#")
    for file in FILES:
        for name, defaults in variables(file.read_text()).items():
            assert defaults == {assigned.get(name)}, f"{name} in {file.name}"
    assert given == set(assigned)
    passed_on = services("compose.yaml")["prepare"]["environment"]
    assert [f"# {name}=" in EXAMPLE for name in passed_on] == [True] * len(passed_on)


def test_two_nodes_train_alike_but_for_the_node() -> None:
    laid = services("compose.yaml", "two-nodes.yaml")
    first, second = laid["train"], laid["train-1"]
    own = {"LIBMOE_TRAIN_NODE_RANK", "LIBMOE_TRAIN_GPUS"}
    for node in (first, second):
        node["shared"] = {name: value for name, value in environment(node).items() if name not in own}
        del node["environment"]
    assert first == second


def test_the_demo_needs_neither_gpu_nor_internet() -> None:
    text = (COMPOSE / "demo.yaml").read_text()
    assert "internal: true" in text
    assert not any("deploy" in service for service in services("demo.yaml").values())
    assert "deploy" in services("compose.yaml")["train"]


def _set(laid: Services, name: str, **values: Any) -> None:
    laid[name].update(values)


@pytest.mark.parametrize(
    ("files", "harm", "complaint"),
    [
        (0, lambda all: _set(all, "train", read_only=False), "train: read_only is False"),
        (0, lambda all: _set(all, "train", cap_drop=[]), "train: cap_drop is []"),
        (0, lambda all: _set(all, "train", user="0:0"), "train: it runs as root"),
        (0, lambda all: _set(all, "tensorboard", ports=["6006:6006"]), "tensorboard: port 6006:6006"),
        (0, lambda all: _set(all, "train", command=["trian"]), "is no libmoe command"),
        (0, lambda all: all["train"]["command"].append("--stages=2"), "No such option"),
        (0, lambda all: _set(all, "train", command=["train"]), "Missing option '--stage'"),
        (1, lambda all: all["train"]["environment"].update(LIBMOE_TRAIN_NODES=2), "NODES is no option"),
        (1, lambda all: all["train"]["environment"].update(LIBMOE_TRAIN_NNODES="x"), "train: libmoe train"),
        (0, lambda all: all.pop("prepare"), "waits for prepare, which is no service"),
        (2, lambda all: all["hub"].pop("healthcheck"), "health of hub, which has no check"),
        (0, lambda all: _set(all, "prepare", restart="always"), "end of prepare, which is started again"),
        (1, lambda all: all.pop("train-1"), "train: of 2 nodes, there are ['0']"),
        (1, lambda all: all.update(other=all.pop("train")), "train-1: node 0 is not at train"),
        (2, lambda all: _set(all, "hub", command=["--port 80"]), "nobody serves hub:8000"),
        (2, lambda all: all["prepare"].pop("depends_on"), "prepare: it does not wait for hub"),
    ],
)
def test_each_rule_sees_what_breaks_it(files: int, harm: Callable[[Services], Any], complaint: str) -> None:
    laid = services(*USES[files])
    harm(laid)
    assert any(complaint in found for found in complaints(laid)), complaints(laid)

"""W&B: the real package, offline, where it is installed; and the calls that it gets, where it is not."""

import json
import sys
from types import SimpleNamespace

import pytest

from libmoe.config.errors import ConfigError
from libmoe.moe.statistics import LayerSummary
from libmoe.train.callbacks.router_statistics import RouterLog
from libmoe.train.callbacks.weights_and_biases import WeightsAndBiases


class StandIn:
    """As much of the package as is called."""

    class Error(Exception):
        """The base of W&B's own."""

    def __init__(self):
        self.runs, self.logged, self.finished, self.defined = [], [], 0, []

    Settings = dict

    def init(self, **settings):
        if settings["project"] == "refused":
            raise self.Error("No API key\nconfigured.")
        self.runs.append(settings)
        return SimpleNamespace(log=self.logged.append, finish=self._finish, define_metric=self._define)

    def _define(self, names, step_metric):
        self.defined.append((names, step_metric))

    def _finish(self):
        self.finished += 1


@pytest.fixture
def stand_in(monkeypatch):
    package = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", package)
    return package


def test_every_step_is_logged_with_the_settings(stand_in, spec_of, tmp_path, record):
    spec = spec_of(tmp_path / "runs/sft", "sft", "train.learning_rate=0.25")
    sink = WeightsAndBiases(spec, "demo", start=0)
    sink.write(record(step=3), 9)
    sink.close()
    (run,) = stand_in.runs
    assert (run["project"], run["name"], run["group"]) == ("demo", "tiny sft", "runs")
    assert run["config"]["train"]["learning_rate"] == 0.25
    assert json.dumps(run["config"])
    (logged,) = stand_in.logged
    assert logged["train/step"] == 3
    assert logged["train/loss"] == 0.1 + 0.2
    assert "train/mfu" not in logged
    assert (stand_in.finished, stand_in.defined) == (
        1,
        [("train/*", "train/step"), ("router/*", "train/step")],
    )


def test_a_resumed_run_goes_on_in_the_same_one(stand_in, spec_of, tmp_path):
    spec = spec_of(tmp_path, "sft")
    for start in (0, 7, 0):
        WeightsAndBiases(spec, "demo", start)
    first, resumed, anew = (run["id"] for run in stand_in.runs)
    assert first == resumed != anew


def test_a_refusal_is_one_sentence(stand_in, spec_of, tmp_path):
    with pytest.raises(ConfigError, match=r"'refused' \(No API key configured\): set WANDB_API_KEY"):
        WeightsAndBiases(spec_of(tmp_path, "sft"), "refused", 0)


def test_the_real_package_offline(spec_of, tmp_path, monkeypatch, record):
    pytest.importorskip("wandb", reason="wandb is no dependency of libmoe: install it to run this test too")
    monkeypatch.setenv("WANDB_MODE", "offline")
    spec = spec_of(tmp_path, "sft")
    for start in (0, 1):
        sink = WeightsAndBiases(spec, "demo", start)
        sink.write(record(step=start + 1), 2)
        sink.close()
    assert len(list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))) == 2


def test_routers_are_told_as_tensorboard_is(stand_in, spec_of, tmp_path):
    sink = WeightsAndBiases(spec_of(tmp_path, "sft"), "demo", 0)
    seen = LayerSummary(
        tokens=4,
        load=[0.75, 0.25],
        top1=[1.0, 0.0],
        coactivation=[[1.0, 0.0], [0.0, 0.0]],
        entropy=0.5,
        margin=0.25,
        null_share=None,
        dropped_share=None,
        z=2.0,
    )
    log = RouterLog(tmp_path, 0, sink)
    log.write(7, {"tower.0": seen})
    log.close()
    (logged,) = stand_in.logged
    assert logged.pop("train/step") == 7
    figures = {"load_max": 0.75, "load_min": 0.25, "entropy": 0.5, "margin": 0.25, "z": 2.0}
    assert logged == {f"router/tower.0/{name}": value for name, value in figures.items()}

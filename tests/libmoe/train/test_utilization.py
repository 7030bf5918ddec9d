"""MFU: counted where there is something to count it against."""

import pytest
import torch

from libmoe.config.counting import anatomy, training_flops
from libmoe.config.run import World
from libmoe.train.utilization import utilization

BF16 = "train.precision=bf16"


@pytest.fixture
def on_gpus(spec_of, tmp_path, monkeypatch):
    """A run on two GPUs of a name."""

    def make(name, *settings):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
        spec = spec_of(tmp_path, "sft", *settings)
        return spec.model_copy(update={"world": World(device="cuda", processes=2)})

    return make


def test_a_second_of_rows(on_gpus):
    spec = on_gpus("NVIDIA A100-SXM4-80GB", BF16, "train.activation_checkpointing=true")
    run = spec.config
    rows = [(200, 1), (90, 0)]
    model = anatomy(run.model, run.moe)
    flops = sum(training_flops(model, run.train.trainable, False, *row).total for row in rows)
    share = utilization(spec).share(290, 200**2 + 90**2, 1, seconds=0.5)
    assert share == pytest.approx(flops / 0.5 / (2 * 312e12))


def test_nothing_is_known(on_gpus, spec_of, tmp_path):
    assert utilization(spec_of(tmp_path, "sft", BF16)) is None  # the CPU
    assert utilization(on_gpus("NVIDIA A100-SXM4-80GB")) is None  # fp32
    assert utilization(on_gpus("NVIDIA X1", BF16)) is None
    assert utilization(on_gpus("NVIDIA H200", BF16, "model.language.config.model_type=mamba")) is None

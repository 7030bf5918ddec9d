"""GPUs are found through nvidia-smi; a script of that name stands in for the driver's tool."""

from pathlib import Path

import pytest

from entrypoint.launch.world import choose_devices, imagined_devices
from libmoe.config.errors import ConfigError, UsageError
from libmoe.config.gpus import gpu_model


@pytest.fixture
def four_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\nfor i in 0 1 2 3; do echo "$i, NVIDIA H100 80GB HBM3, 8155$i"; done\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("gpus", "visible"), [(None, "0,1,2,3"), ("all", "0,1,2,3"), ("2", "0,1"), ("1,3", "1,3"), ("0,", None)]
)
def test_gpus_are_chosen_by_number_or_list(gpus: str | None, visible: str | None) -> None:
    if visible is None:
        with pytest.raises(UsageError):
            choose_devices(gpus, None)
        return
    devices = choose_devices(gpus, None)
    assert devices.environment == {"CUDA_VISIBLE_DEVICES": visible}
    assert devices.world.processes == visible.count(",") + 1
    assert devices.world.device == "cuda"
    assert devices.gpu is not None
    assert devices.gpu.memory_bytes == (81550 + int(visible[0])) * 2**20  # the least


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize("gpus", ["8", "0,4"])
def test_fewer_gpus_than_asked_for(gpus: str) -> None:
    with pytest.raises(ConfigError, match="This machine shows GPUs 0, 1, 2, 3"):
        choose_devices(gpus, None)


@pytest.mark.usefixtures("four_gpus")
def test_hidden_gpus_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert choose_devices(None, None).environment["CUDA_VISIBLE_DEVICES"] == "2"
    with pytest.raises(ConfigError):
        choose_devices("2", None)


def test_without_a_gpu_the_cpu_trains_unless_gpus_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose_devices(None, 2).world.device == "cpu"
    assert choose_devices("cpu", 2).world.processes == 2
    with pytest.raises(ConfigError, match="--gpus cpu"):
        choose_devices("1", None)


@pytest.mark.parametrize("gpus", ["one", "0,0", "-1", "1;2"])
def test_nonsense_is_a_usage_error(gpus: str) -> None:
    with pytest.raises(UsageError, match="--gpus wants"):
        choose_devices(gpus, None)


def test_gpus_can_be_imagined_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for gpus, count in ((None, 1), ("all", 1), ("4", 4), ("0,1", 2)):
        world = imagined_devices(gpu_model("a100"), gpus, nodes=2).world
        assert (world.device, world.size) == ("cuda", 2 * count)
    for gpus in ("cpu", "0"):
        with pytest.raises(UsageError, match="--gpus"):
            imagined_devices(gpu_model("a100"), gpus)

"""GPUs by the names that people and drivers give them."""

import pytest

from libmoe.config.errors import UsageError
from libmoe.config.gpus import gpu_model, recognised, visible_gpu


@pytest.mark.parametrize(
    ("shown", "model"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200 NVL", "h200-nvl"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA A1000", None),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_the_drivers_names(shown: str, model: str | None) -> None:
    found = recognised(shown)
    assert (found.name if found else None) == model


def test_the_drivers_memory_counts() -> None:
    gpu = visible_gpu("NVIDIA H100 80GB HBM3", 40_000)
    assert gpu is not None
    assert (gpu.memory_bytes, gpu.bf16_flops) == (40_000 * 2**20, 989.4e12)
    unknown = visible_gpu("NVIDIA X", 1)
    assert unknown is not None
    assert unknown.bf16_flops is None
    assert visible_gpu("NVIDIA X", None) is None


def test_a_name_that_is_none() -> None:
    assert gpu_model("H100").memory_bytes == 81559 * 2**20
    with pytest.raises(UsageError, match="Unknown GPU 'h10': did you mean 'h100'"):
        gpu_model("h10")

"""The GPUs, as the driver shows them, and whether the driver fits the CUDA that torch was built with."""

import importlib.util
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from entrypoint import nvidia
from entrypoint.doctor.finding import Finding, fail, ok, warn

OLDEST_DRIVER = {12: 525, 13: 580}
"""CUDA's major version to the oldest driver branch that runs it (CUDA release notes, table of drivers)."""

BF16_SINCE = 8.0
"""Compute capability from which bf16 and the grouped matrix product run on the tensor cores."""


_FIELDS = ("index", "name", "driver_version", "memory.total", "compute_cap")


@dataclass(frozen=True)
class Gpu:
    """A GPU in the driver's words."""

    index: str
    name: str
    driver: str
    memory_mib: int
    capability: float


def gpu_findings() -> list[Finding]:
    """Driver, GPUs and CUDA; on a machine without GPU, what that means."""
    cuda = torch_cuda()
    if not nvidia.has_driver():
        return [_without_driver(cuda)]
    try:
        gpus = [_gpu_of(row) for row in nvidia.ask(*_FIELDS)]
    except (subprocess.SubprocessError, OSError) as error:
        return [
            fail("gpu", f"nvidia-smi fails ({error})", "Install or repair the NVIDIA driver of the host.")
        ]
    if not gpus:
        return [_without_driver(cuda)]
    return [*(_gpu(gpu) for gpu in gpus), _driver(gpus[0].driver, cuda)]


def torch_cuda() -> str | None:
    """The CUDA version torch was built with, read without importing it; None for a CPU build."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "version.py").read_text()
    found = re.search(r"^cuda\b[^=]*= '([\d.]+)'", text, re.MULTILINE)
    return found[1] if found else None


def _without_driver(cuda: str | None) -> Finding:
    if cuda is None:
        return ok("gpu", "none, and torch is a CPU build: training runs on the CPU")
    return warn(
        "gpu",
        f"none is visible, though torch is built for CUDA {cuda}",
        "Start the container with --gpus all (with the NVIDIA Container Toolkit on the host), "
        "or train on the CPU with --gpus cpu.",
    )


def _gpu(gpu: Gpu) -> Finding:
    found = f"{gpu.name}, {gpu.memory_mib / 1024:.0f} GiB, compute capability {gpu.capability}"
    if gpu.capability < BF16_SINCE:
        return warn(f"gpu {gpu.index}", found, "It has no bf16: train with --set train.precision=fp32.")
    return ok(f"gpu {gpu.index}", found)


def _driver(driver: str, cuda: str | None) -> Finding:
    if cuda is None:
        return fail(
            "driver",
            f"{driver}, but torch is a CPU build",
            "Use the image's CUDA variant (make image), or make setup TORCH=cuda.",
        )
    oldest = OLDEST_DRIVER.get(int(cuda.split(".")[0]))
    found = f"{driver}, for torch built with CUDA {cuda}"
    if oldest is not None and int(driver.split(".")[0]) < oldest:
        return fail("driver", found, f"Update the host's driver to {oldest} or newer.")
    return ok("driver", found)


def _gpu_of(row: list[str]) -> Gpu:
    index, name, driver, mib, capability = row
    return Gpu(index, name, driver, int(mib), float(capability))

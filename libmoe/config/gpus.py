"""What GPUs can do at most, as data (``gpus.toml``): for the plan of a run, and for its MFU."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from libmoe.config.errors import UsageError, nearest

_MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """One GPU; ``bf16_flops`` (a second, at peak, without sparsity) is None where nothing is known."""

    name: str
    memory_bytes: int
    bf16_flops: float | None


def gpu_model(model: str) -> Gpu:
    """By the name that ``--gpu-model`` takes.

    Raises:
        UsageError: there is none of this name.
    """
    table = _table()
    if model.lower() not in table:
        raise UsageError(f"Unknown GPU {model!r}: {nearest(model.lower(), table)}")
    return _gpu(model.lower(), table[model.lower()])


def recognised(name: str) -> Gpu | None:
    """By the driver's name, such as ``NVIDIA A100-SXM4-80GB``; None where it is not in the table."""
    found = [
        (len(part), model)
        for model, entry in _table().items()
        for part in entry["names"]
        if re.search(rf"\b{re.escape(part)}\b", name)
    ]
    model = max(found)[1] if found else None
    return _gpu(model, _table()[model]) if model else None


def visible_gpu(name: str, memory_mib: int | None) -> Gpu | None:
    """A GPU of this machine, with the memory that its driver shows.

    Args:
        memory_mib: None where the driver does not say; then what such a GPU has.
    """
    known = recognised(name)
    if memory_mib is None:
        return known
    return Gpu(name, memory_mib * _MIB, known.bf16_flops if known else None)


@cache
def _table() -> dict[str, dict]:
    return tomllib.loads((resources.files("libmoe.config") / "gpus.toml").read_text())


def _gpu(model: str, entry: dict) -> Gpu:
    return Gpu(model, entry["memory_mib"] * _MIB, entry["bf16_tflops"] * 1e12)

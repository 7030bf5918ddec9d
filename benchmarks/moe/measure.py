"""Time and peak memory of a step on either kind of device."""

import ctypes
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

Step = Callable[[], None]


def seconds(step: Step, device: str) -> float:
    """On a GPU of many steps together, for one is over before it can be timed."""
    repeats = 20 if device == "cuda" else 1
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _wait(device)
    return (time.perf_counter() - start) / repeats


def peak_bytes(step: Step, device: str) -> int:
    """What a step takes beyond what was there before it: of the GPU's memory, else of the process's."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


def available_bytes(device: str) -> int:
    """Memory that is free now."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def gpu(device: str) -> list[str]:
    """Which GPU the figures are of, if they are."""
    return [f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"] if device == "cuda" else []


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))

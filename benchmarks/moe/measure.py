"""Time and peak memory of a step on either kind of device, and Markdown."""

import ctypes
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

Step = Callable[[], None]


def paired(steps: Mapping[str, Step], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each step, once a round, the order turning, so that a busy moment hits none alone."""
    names = list(steps)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times[name].append(seconds(steps[name], device))
    return times


def seconds(step: Step, device: str) -> float:
    """On a GPU of many steps together, for one is over before it can be timed."""
    repeats = 20 if device == "cuda" else 1
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _wait(device)
    return (time.perf_counter() - start) / repeats


def ratio(times: Mapping[str, Sequence[float]], above: str, below: str) -> float:
    """The median over the rounds."""
    return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))


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


def machine(device: str) -> list[str]:
    """What the figures depend on."""
    system = f"{platform.system()} {platform.release()}"
    lines = [f"Python {platform.python_version()}, torch {torch.__version__}, {system}"]
    if device == "cuda":
        return [f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}", *lines]
    cpu = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    load = os.getloadavg()[0]
    return [
        f"{cpu[0] if cpu else 'CPU'}, {torch.get_num_threads()} threads, load {load:.1f} at the start",
        *lines,
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints Markdown."""
    for line in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(line)} |")
    print(flush=True)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))

"""Which devices and how many processes a run gets, found without importing torch."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from entrypoint import nvidia
from libmoe.config.errors import ConfigError, UsageError
from libmoe.config.gpus import Gpu, visible_gpu
from libmoe.config.run import World


@dataclass(frozen=True)
class Devices:
    """The world of a run and the environment that shows its processes their devices."""

    world: World
    environment: dict[str, str]
    names: tuple[str, ...]
    gpu: Gpu | None = None
    """The one with the least memory; None on the CPU, or where nothing is known of it."""


@dataclass(frozen=True)
class _Shown:
    """A GPU in the driver's words; ``memory_mib`` is None where it does not say."""

    name: str
    memory_mib: int | None


def choose_devices(gpus: str | None, processes: int | None, nodes: int = 1) -> Devices:
    """``--gpus`` (``0,1``, a number, or ``cpu``) and ``--processes``, both of each node, to a world.

    Unset: every GPU, else the CPU with one process.

    Raises:
        UsageError: ``gpus`` is none of these forms.
        ConfigError: this machine has fewer GPUs than asked for.
    """
    if gpus == "cpu":
        return _cpu(processes or 1, nodes)
    present = _visible_gpus(os.environ)
    if gpus is None and not present:
        return _cpu(processes or 1, nodes)
    wanted = _wanted(gpus, sorted(present))
    missing = [index for index in wanted if index not in present]
    if missing or not wanted:
        have = f"GPUs {', '.join(map(str, sorted(present)))}" if present else "no GPU"
        raise ConfigError(
            f"This machine shows {have}, but --gpus {gpus} asks for {', '.join(map(str, missing)) or 'one'}: "
            "name fewer, or train on the CPU with --gpus cpu."
        )
    if processes not in (None, len(wanted)):
        raise ConfigError(f"--processes {processes} does not fit {len(wanted)} GPUs: one each.")
    visible = ",".join(map(str, wanted))
    world = World(device="cuda", processes=len(wanted), nodes=nodes)
    shown = [present[index] for index in wanted]
    known = [gpu for gpu in (visible_gpu(one.name, one.memory_mib) for one in shown) if gpu]
    least = min(known, key=lambda gpu: gpu.memory_bytes, default=None)
    names = tuple(one.name for one in shown)
    return Devices(world, {"CUDA_VISIBLE_DEVICES": visible}, names, least)


def imagined_devices(gpu: Gpu, gpus: str | None, nodes: int = 1) -> Devices:
    """As many such GPUs as ``--gpus`` says, of each node, whatever this machine has; unset: one.

    Raises:
        UsageError: ``gpus`` is neither a number nor a list.
    """
    count = 1 if gpus in (None, "all") else len(_wanted(gpus, []))
    if not count:
        raise UsageError(f"--gpus {gpus} names no GPU: give a number from 1 on, or a list as in 0,1.")
    world = World(device="cuda", processes=count, nodes=nodes)
    return Devices(world, {}, (gpu.name,) * count, gpu)


def _cpu(processes: int, nodes: int) -> Devices:
    threads = max(1, (os.cpu_count() or 1) // processes)
    environment = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": str(threads)}
    return Devices(World(device="cpu", processes=processes, nodes=nodes), environment, (_cpu_name(),))


def _wanted(gpus: str | None, present: list[int]) -> list[int]:
    if gpus is None or gpus == "all":
        return present
    try:
        numbers = [int(part) for part in gpus.split(",")]
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise UsageError(f"--gpus wants a number, a list as in 0,1, all, or cpu; got {gpus!r}.")
    if "," in gpus:
        return numbers
    return present[: numbers[0]] if numbers[0] <= len(present) else list(range(numbers[0]))


def _visible_gpus(environ: Mapping[str, str]) -> dict[int, _Shown]:
    """Each GPU the driver shows by its index, less those that CUDA_VISIBLE_DEVICES hides."""
    if not nvidia.has_driver():
        return {}
    try:
        found = nvidia.ask("index", "name", "memory.total")
    except (subprocess.SubprocessError, OSError):
        return {}
    gpus = {int(index): _Shown(name, int(mib) if mib.isdigit() else None) for index, name, mib in found}
    shown = environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None:
        return gpus
    kept = [int(part) for part in shown.split(",") if part.strip().isdigit()]
    return {index: gpus[index] for index in kept if index in gpus}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = "CPU"
    return f"{name}, {os.cpu_count()} cores"

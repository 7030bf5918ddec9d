"""What host and container engine allow: shared memory, locked memory, open files, memory, the clock."""

import os
import resource
import shutil
import time
from pathlib import Path

from entrypoint import console, nvidia
from entrypoint.doctor.finding import Finding, fail, ok, warn

SHARED_BYTES = 1 << 30
"""Loader workers and NCCL hand tensors over in shared memory; Docker's default of 64 MiB is not enough."""

OPEN_FILES = 4096
"""Many downloads and loader workers hold many files open at once."""

LOCKED_BYTES = 64 << 20
"""Pinned host memory of ZeRO-Offload and InfiniBand; without a GPU nothing is pinned."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_OLDEST_TIME = 1_760_000_000  # October 2025: TLS certificates are judged by the clock


def limit_findings(shared: Path = Path("/dev/shm")) -> list[Finding]:
    """All of them."""
    return [shared_memory(shared), open_files(), locked_memory(), memory(), clock(time.time())]


def shared_memory(shared: Path) -> Finding:
    """Size of ``/dev/shm``."""
    remedy = "Start the container with --shm-size 16g (Kubernetes: a Memory emptyDir at /dev/shm)."
    if not shared.is_dir():
        return fail("shared memory", f"there is no {shared}", remedy)
    usage = shutil.disk_usage(shared)
    found = f"{console.size(usage.free)} of {console.size(usage.total)} free in {shared}"
    return ok("shared memory", found) if usage.free >= SHARED_BYTES else warn("shared memory", found, remedy)


def open_files() -> Finding:
    """How many files a process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return ok("open files", "no limit" if soft == resource.RLIM_INFINITY else str(soft))
    return warn("open files", str(soft), "Raise it: ulimit -n 65536, or docker run --ulimit nofile=65536.")


def locked_memory() -> Finding:
    """How much memory a process may pin."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        return ok("locked memory", "no limit")
    found = console.size(soft)
    if soft >= LOCKED_BYTES or not nvidia.has_driver():
        return ok("locked memory", found)
    return warn("locked memory", found, "Lift it for offload and InfiniBand: docker run --ulimit memlock=-1.")


def memory() -> Finding:
    """What this container or machine may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = min([physical, *_container_limits()])
    where = "the machine has" if limit == physical else "the container may use"
    return ok("memory", f"{where} {console.size(limit)}; `libmoe train --dry-run` says what a run takes")


def clock(now: float) -> Finding:
    """Whether the clock can be right."""
    if now < _OLDEST_TIME:
        return fail(
            "clock",
            time.strftime("%Y-%m-%d", time.gmtime(now)),
            "Set the host's clock: TLS certificates are refused by a clock that is wrong.",
        )
    return ok("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


def _container_limits() -> list[int]:
    found = []
    for path in map(Path, _CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdigit():
            found.append(int(text))
    return found

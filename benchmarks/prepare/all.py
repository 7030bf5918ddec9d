"""Every benchmark of prepare, with the date, the machine and the versions: what benchmarks/results/ keeps.

About 12 minutes on two free cores, and 7 GB of memory at the most.

    python benchmarks/prepare/all.py [--rounds 3] > benchmarks/results/prepare.md
"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import extraction
import rerun
import transport

from entrypoint.prepare.transport.daemon import find_aria2c

_PROGRAMS = (
    ["wget", "--version"],
    ["curl", "--version"],
    ["nginx", "-v"],
    [str(find_aria2c()), "--version"],
    ["unzip", "-v"],
    ["7z"],
    ["bsdtar", "--version"],
)


def first_line(command: list[str]) -> str:
    """What a program says it is."""
    found = subprocess.run(command, capture_output=True, text=True)
    return next(line for line in (found.stdout + found.stderr).splitlines() if line.strip()).strip()


def cpu_model() -> str:
    """As the kernel names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


def main() -> None:
    """The head, then each script's tables."""
    print("# prepare, measured\n")
    print(f"`python benchmarks/prepare/all.py`, {datetime.now(UTC):%Y-%m-%d}, all files in memory (tmpfs).\n")
    print(f"* {cpu_model()}, {os.cpu_count()} cores; load at the start {os.getloadavg()[0]:.1f}")
    print(f"* Linux {platform.release()}, Python {platform.python_version()}")
    for command in _PROGRAMS:
        print(f"* {first_line(command)}")
    print(flush=True)
    for benchmark in (transport, extraction, rerun):
        benchmark.main()
    print(f"Load at the end {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()

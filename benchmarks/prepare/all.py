"""Every benchmark of prepare, with the date, the machine and the versions: what benchmarks/results/ keeps.

About 12 minutes on two free cores, and 7 GB of memory at the most.

    python -m benchmarks.prepare.all [--rounds 3] > benchmarks/results/prepare.md
"""

import os
import subprocess

from benchmarks.page import bullets, machine
from benchmarks.prepare import extraction, rerun, transport
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


def main() -> None:
    """The head, then each script's tables."""
    print("# prepare, measured\n")
    print("`python -m benchmarks.prepare.all`, all files in memory (tmpfs).\n")
    bullets([*machine(), *map(first_line, _PROGRAMS)])
    for benchmark in (transport, extraction, rerun):
        benchmark.main()
    print(f"Load at the end {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()

"""What the pages in ``benchmarks/results/`` are made of: Markdown tables, and what figures depend on."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def machine(*packages: str) -> list[str]:
    """Date, processor, load, and the versions of Python and ``packages``, a line each."""
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.release()}",
        f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
        ", ".join(versions),
    ]


def bullets(lines: Sequence[str]) -> None:
    """Prints a list."""
    for line in lines:
        print(f"* {line}")
    print(flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """Prints a table, under a heading if it has a title; fractions get two digits."""
    if title is not None:
        print(f"### {title}\n")
    for line in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(_cell(value) for value in line)} |")
    print(flush=True)


def verdict(value: float, goal: float, at_least: bool) -> str:
    """A ratio beside its goal."""
    met = value >= goal if at_least else value <= goal
    return f"{value:.3g} (goal {'>=' if at_least else '<='} {goal:g}: {'met' if met else 'MISSED'})"


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _processor() -> str:
    """As the kernel names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

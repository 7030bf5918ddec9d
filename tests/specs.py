"""Manifests of runs, for tests that start from one."""

from pathlib import Path
from typing import Any

from libmoe.config.run import Annotations, RunSpec, World
from libmoe.config.schema import RunConfig


def run_spec(config: RunConfig, data_dir: Path, run_dir: Path, **given: Any) -> RunSpec:
    """A run of one CPU rank from random weights, on one row that nobody has looked at; or as ``given``."""
    known: dict[str, Any] = {
        "provenance": {},
        "annotations": Annotations(name="a", index=data_dir / "a.arrow", sha256="0" * 64, rows=1),
        "init_from": None,
        "resume_from": None,
        "accumulation_steps": 1,
        "world": World(device="cpu", processes=1),
        "versions": {},
        "hardware": {},
    }
    return RunSpec(config=config, data_dir=data_dir, run_dir=run_dir, **{**known, **given})

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libmoe.config.layers import Layer, resolve
from libmoe.config.run import Annotations, RunSpec, World

Manifest = Callable[..., RunSpec]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Makes the manifest of a stage-1 run of `tiny` in ``tmp_path/run``, with other settings on request."""

    def make(sha256: str = "0" * 64, **train: Any) -> RunSpec:
        resolved = resolve("pretrain", "tiny", [Layer("test", {"train": train})])
        return RunSpec(
            config=resolved.config,
            provenance=resolved.provenance,
            data_dir=tmp_path,
            run_dir=tmp_path / "run",
            annotations=Annotations(name="a", index=tmp_path / "a.arrow", sha256=sha256, rows=1),
            init_from=None,
            resume_from=None,
            accumulation_steps=1,
            world=World(device="cpu", processes=1),
            versions={},
            hardware={},
        )

    return make

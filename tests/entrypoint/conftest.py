from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libmoe.config.layers import Layer, resolve
from libmoe.config.run import Annotations, RunSpec
from tests.specs import run_spec

Manifest = Callable[..., RunSpec]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Makes the manifest of a stage-1 run of `tiny` in ``tmp_path/run``, with other settings on request."""

    def make(sha256: str = "0" * 64, **train: Any) -> RunSpec:
        resolved = resolve("pretrain", "tiny", [Layer("test", {"train": train})])
        annotations = Annotations(name="a", index=tmp_path / "a.arrow", sha256=sha256, rows=1)
        return run_spec(
            resolved.config,
            tmp_path,
            tmp_path / "run",
            provenance=resolved.provenance,
            annotations=annotations,
        )

    return make

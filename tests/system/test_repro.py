"""The same commit gives the same image, to its ID; where two images differ, each difference is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Image, Recipe

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]


def test_built_again_from_scratch_it_is_equal(image: Image, recipe: Recipe) -> None:
    first = {"AGAINST": image.name} if image.from_scratch else {}
    variables = {**os.environ, **recipe.settings, **first}
    done = subprocess.run([ROOT / "docker/repro"], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.startswith("equal: sha256:")


def build(docker: str, folder: Path, name: str, files: dict[str, tuple[str, int, int]], label: str) -> str:
    """An image of one layer with files of some content, mode and time."""
    folder.mkdir()
    for path, (content, mode, moment) in files.items():
        file = folder / path
        file.write_text(content)
        file.chmod(mode)
        os.utime(file, (moment, moment))
    (folder / "Dockerfile").write_text(f"FROM scratch\nLABEL a={label}\nCOPY file-* /\n")
    subprocess.run([docker, "build", "--quiet", "--tag", name, folder], check=True, capture_output=True)
    return name


def test_what_differs_is_named(docker: str, tmp_path: Path) -> None:
    same = ("same", 0o644, 1_000_000_000)
    one = {"file-same": same, "file-gone": same, "file-content": same, "file-mode": same, "file-time": same}
    other = {
        "file-same": same,
        "file-new": same,
        "file-content": ("diff", 0o644, 1_000_000_000),
        "file-mode": ("same", 0o755, 1_000_000_000),
        "file-time": ("same", 0o644, 1_000_000_001),
    }
    names = [
        build(docker, tmp_path / "one", "libmoe:system-test-one", one, "b"),
        build(docker, tmp_path / "other", "libmoe:system-test-other", other, "c"),
    ]
    compare = [sys.executable, ROOT / "docker/compare.py"]
    variables = {**os.environ, "DOCKER": docker}
    done = subprocess.run([*compare, *names], env=variables, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert 'configuration, config.Labels.a: "b" and "c"' in lines
    files = [line.split()[:2] for line in lines if line.startswith("  ")]
    assert files == [
        ["changed", "file-content:"],
        ["removed", "file-gone"],
        ["changed", "file-mode:"],
        ["added", "file-new"],
        ["changed", "file-time:"],
    ]
    detail = {line.split()[1]: line.partition(": ")[2].split()[0] for line in lines if "changed" in line}
    assert detail == {"file-content:": "content", "file-mode:": "mode", "file-time:": "time"}

    nobody = subprocess.run(
        [*compare, names[0], "libmoe:no-such"], env=variables, capture_output=True, text=True
    )
    assert nobody.returncode == 69
    assert "No such image" in nobody.stderr

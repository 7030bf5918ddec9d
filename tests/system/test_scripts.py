"""What the scripts behind `make` say when they are asked for something that cannot be."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("script", "variables", "code", "about"),
    [
        ("docker/build", {"VARIANT": "cup"}, 2, "cuda or cpu"),
        ("docker/build", {"VARIANT": "cpu", "BASE_IMAGE": ""}, 2, "BASE_IMAGE"),
        ("docker/build", {"WHEELHOUSE": "/nowhere"}, 2, "/nowhere"),
        ("docker/wheelhouse", {}, 2, "where"),
        ("docker/run", {"DATA_DIR": "/proc/nowhere"}, 73, "/proc/nowhere"),
        ("tests/system/engine", {}, 69, "which command"),
    ],
)
def test_one_sentence(script: str, variables: dict[str, str], code: int, about: str) -> None:
    done = subprocess.run([ROOT / script], env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert about in done.stderr
    assert len(done.stderr.splitlines()) == 1

"""The files that build and start the image say what their own linters accept."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent


def shell_scripts() -> list[Path]:
    """Every tracked file that a shell runs, wherever it lies."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / line for line in files.splitlines()]
    return [path for path in paths if path.is_file() and _shebang(path).endswith((b"bash", b"sh"))]


def _shebang(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.readline(80).strip()
    return start if start.startswith(b"#!") else b""


def lint(tool: str, *arguments: str | Path) -> None:
    """Runs a linter; what it says is the failure."""
    done = subprocess.run([TOOLS / tool, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile() -> None:
    lint("hadolint", "docker/Dockerfile")


def test_shell_scripts() -> None:
    scripts = shell_scripts()
    assert ROOT / "docker/build" in scripts
    lint("shellcheck", *scripts)

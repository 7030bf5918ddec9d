"""``libmoe convert``: what was said reaches the process that converts, and its answer comes back."""

import subprocess
import sys
from pathlib import Path

import pytest

from entrypoint.commands.convert import command


def convert(*words: str | Path) -> subprocess.CompletedProcess[str]:
    libmoe = [sys.executable, "-c", "from entrypoint.cli import main; main()", "convert"]
    return subprocess.run([*libmoe, *map(str, words)], capture_output=True, text=True)


@pytest.mark.parametrize("action", ["import", "export"])
def test_a_refusal_comes_back_as_it_was_said(tmp_path: Path, action: str) -> None:
    """Each option is one that the other side knows: it would refuse another with exit code 2."""
    options = [word for one in command.commands[action].params for word in one.opts if word.startswith("--")]
    given = [word for option in options for word in (option, tmp_path / "part")]
    done = convert(action, tmp_path, tmp_path / "written", *given)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("libmoe: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "written").exists()

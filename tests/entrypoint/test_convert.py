"""``libmoe convert``: what was said reaches the process that converts, and its answer comes back."""

import os
import signal
import subprocess
import sys
import time
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


def start(folder: Path, module: str) -> subprocess.Popen[str]:
    """``libmoe convert`` in ``folder``, which hands over to a module of this source."""
    (folder / "other.py").write_text(module)
    program = (
        "import sys; from entrypoint.cli import main;"
        "from entrypoint.commands import _model_process, convert;"
        "convert.hand_over = lambda *_: _model_process.hand_over('other', []);"
        "sys.argv[1:] = ['convert', 'export', 'a', 'b']; main()"
    )
    paths = os.pathsep.join([str(folder), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_the_other_process_has_tidied_up(tmp_path: Path, number: int) -> None:
    libmoe = start(
        tmp_path,
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n"
        "    time.sleep(1)\n"
        "    pathlib.Path('tidy').touch()\n"
        "    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path('ready').touch()\n"
        "time.sleep(60)\n",
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    os.killpg(libmoe.pid, number)  # as a terminal's Ctrl-C, and as a scheduler
    assert libmoe.communicate()[1] == ""
    assert libmoe.returncode == 75
    assert (tmp_path / "tidy").exists()


def test_a_process_that_was_killed_is_said_to_be(tmp_path: Path) -> None:
    libmoe = start(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert "was ended by signal 9, as where memory runs out" in libmoe.communicate()[1]
    assert libmoe.returncode == 75

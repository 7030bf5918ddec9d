"""The processes that unpack, when somebody kills them or the one they work for."""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

from entrypoint.prepare.unpack.archive import LayoutRule, read_members
from entrypoint.prepare.unpack.extract import Unpacking
from libmoe.config.errors import TryAgainError

FILES = 12_000
UNPACK = """
import sys, time
from pathlib import Path
from entrypoint.prepare.unpack.archive import LayoutRule, read_members
from entrypoint.prepare.unpack.extract import Unpacking
archive, out, aside = map(Path, sys.argv[1:])
def tell(done):
    print("begun", flush=True)
    time.sleep(60)
Unpacking((archive,), out, aside).run(read_members([archive], LayoutRule("")), 2, tell)
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two dozen batches."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for number in range(FILES):
            file.writestr(f"{number % 7}/{number}.bin", bytes(50))
    return tmp_path / "a.zip"


def test_they_end_with_a_parent_that_is_killed(archive: Path, tmp_path: Path):
    where = [str(archive), str(tmp_path / "out"), str(tmp_path / "aside")]
    parent = subprocess.Popen([sys.executable, "-c", UNPACK, *where], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "begun\n"
    children = psutil.Process(parent.pid).children()
    assert len(children) >= 2
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(children, timeout=60)
    for child in alive:
        child.kill()
    assert not alive


def test_one_that_is_killed_is_named_and_the_same_command_goes_on(archive: Path, tmp_path: Path):
    members = read_members([archive], LayoutRule(""))
    unpacking = Unpacking((archive,), tmp_path / "out", tmp_path / "aside")
    killed: list[int] = []

    def kill(done: int) -> None:
        if not killed:
            workers = [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]
            killed.extend(worker.pid for worker in workers)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(TryAgainError, match="was killed, perhaps because memory ran out"):
        unpacking.run(members, 2, kill)
    assert killed
    unpacking.run(members, 2, lambda done: None)
    assert len(list((tmp_path / "out").rglob("*.bin"))) == FILES

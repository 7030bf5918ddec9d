"""Small file systems of a test's own. Where none can be mounted, the test is skipped and says why."""

import mmap
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, options: str, kind: str = "tmpfs") -> Iterator[Path]:
    """The folder as a file system of its own while the context lasts."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", kind, "-o", options, "none", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a {kind}: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, options: str) -> None:
    """Gives it another size, or other rights."""
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def fill_up(folder: Path, pages: int = 0) -> Path:
    """Takes all the space that is left in a file, but for so many pages; takes more when called again."""
    glutton = folder / "glutton"
    chunk = 1 << 20
    with glutton.open("ab", buffering=0) as file:
        while chunk >= mmap.PAGESIZE:
            try:
                if file.write(bytes(chunk)) < chunk:
                    chunk //= 2
            except OSError:
                chunk //= 2
        file.truncate(max(0, file.tell() - pages * mmap.PAGESIZE))
    return glutton

"""Unpacking a zip of photographs, in memory so that the file system is not what is measured.

Goals: >= 3 times as fast as unzip, and >= 0.8 of the limit, a ``cp -r`` of the unpacked tree. What is
deflated has a nearer limit: reading, inflating and checking alone, with as many processes, by the library
that libmoe inflates with; a third of the files shows it as well. And verifying a file, against sha256sum.
Takes three times the archive's size in memory.

    python -m benchmarks.prepare.extraction [--files 30000] [--megabytes 2000] [--rounds 3]
"""

import argparse
import os
import random
import shutil
import sys
import zipfile
from pathlib import Path

from benchmarks.page import table, verdict
from benchmarks.prepare.processes import Run, cpu, require, run, seconds, walls, workshop
from benchmarks.timing import paired, ratio

_HEAD = b"\xff\xd8\xff\xe0"
_BYTES = bytes(value if value % 16 else value ^ 1 for value in range(256))
"""Makes noise as hard to inflate as a photograph: it shrinks by a few per cent."""
_UNPACK = """
import sys
from pathlib import Path
from entrypoint.prepare.unpack.archive import LayoutRule, read_members
from entrypoint.prepare.unpack.extract import Unpacking
archive, out, aside, jobs = sys.argv[1:]
members = read_members([Path(archive)], LayoutRule(""))
Unpacking((Path(archive),), Path(out), Path(aside)).run(members, int(jobs), lambda done: None)
"""
_INFLATE = """
import os
import sys
from pathlib import Path
from entrypoint.prepare.unpack.archive import LayoutRule, read_members
from entrypoint.prepare.unpack.content import read_pieces
from entrypoint.prepare.unpack.joined import Joined
archive, jobs = sys.argv[1:]
members = read_members([Path(archive)], LayoutRule(""))
STEP = 256
def inflate(start):
    with Joined([Path(archive)]) as file:
        for member in members[start : start + STEP]:
            for piece in read_pieces(file, member):
                pass
for child in range(int(jobs)):
    if not os.fork():
        for start in range(child * STEP, len(members), int(jobs) * STEP):
            inflate(start)
        os._exit(0)
while True:
    try:
        if os.wait()[1]:
            sys.exit(1)
    except ChildProcessError:
        break
"""
_VERIFY = """
import sys
from pathlib import Path
from entrypoint.digests import sha256_of
print(sha256_of(Path(sys.argv[1])))
"""


def photographs(archive: Path, files: int, megabytes: int, method: int) -> None:
    """A zip of so many files, of different sizes, in some folders."""
    sizes = random.Random(1)
    mean = megabytes * 1_000_000 // files
    with zipfile.ZipFile(archive, "w", method, compresslevel=1) as zipped:
        for number in range(files):
            size = sizes.randint(mean // 2, 3 * mean // 2)
            content = _HEAD + os.urandom(size - len(_HEAD)).translate(_BYTES)
            zipped.writestr(f"{number % 30:05d}/{number:09d}.jpg", content)


def main() -> None:
    """One table for unpacking, one for verifying."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=30_000)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    require("unzip", "7z", "bsdtar", "cp", "sha256sum")
    with workshop() as folder:
        archive = folder / "images.zip"
        for kind, method, share in (("stored", zipfile.ZIP_STORED, 1), ("deflated", zipfile.ZIP_DEFLATED, 3)):
            photographs(archive, arguments.files // share, arguments.megabytes // share, method)
            unpacking(folder, archive, kind, arguments.rounds)
        verifying(archive, arguments.rounds)


def unpacking(folder: Path, archive: Path, kind: str, rounds: int) -> None:
    """Against other programs and the limit."""
    out, tree, aside = folder / "out", folder / "tree", folder / "aside"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    run(["bsdtar", "-x", "-f", archive, "-C", tree])
    jobs = str(os.cpu_count() or 1)

    def fresh(command: list[str | Path]) -> Run:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return run(command)

    contenders = {
        "libmoe": lambda: fresh([sys.executable, "-c", _UNPACK, archive, out, aside, jobs]),
        "unzip": lambda: fresh(["unzip", "-q", archive, "-d", out]),
        "7z": lambda: fresh(["7z", "x", "-y", "-bd", f"-o{out}", archive]),
        "bsdtar": lambda: fresh(["bsdtar", "-x", "-f", archive, "-C", out]),
        "inflating and checking alone": lambda: fresh([sys.executable, "-c", _INFLATE, archive, jobs]),
        "cp -r (the limit)": lambda: fresh(["cp", "-r", f"{tree}/.", out]),
    }
    runs = paired(rounds, contenders)
    goals = {"unzip": 3.0, "cp -r (the limit)": 0.8}
    files = sum(1 for path in tree.rglob("*") if path.is_file())
    table(
        ["", "s", "CPU s", "its time to libmoe's"],
        [[name, seconds(its), cpu(its), _against(runs, name, goals)] for name, its in runs.items()],
        f"Unpacking {files} files, {archive.stat().st_size / 1e9:.2f} GB, {kind}, {jobs} processes",
    )


def _against(runs: dict[str, list[Run]], name: str, goals: dict[str, float]) -> str:
    if name == "libmoe":
        return ""
    value = ratio(walls(runs[name]), walls(runs["libmoe"]))
    return verdict(value, goals[name], True) if name in goals else f"{value:.2f}"


def verifying(archive: Path, rounds: int) -> None:
    """Against sha256sum, start of Python included."""
    contenders = {
        "libmoe": lambda: run([sys.executable, "-c", _VERIFY, archive]),
        "sha256sum": lambda: run(["sha256sum", archive]),
    }
    runs = paired(rounds, contenders)
    ours, theirs = runs["libmoe"], runs["sha256sum"]
    table(
        ["", "s", "libmoe's time to it"],
        [
            ["libmoe", seconds(ours), ""],
            ["sha256sum", seconds(theirs), verdict(ratio(walls(ours), walls(theirs)), 1.1, False)],
        ],
        f"Verifying {archive.stat().st_size / 1e9:.2f} GB",
    )


if __name__ == "__main__":
    main()

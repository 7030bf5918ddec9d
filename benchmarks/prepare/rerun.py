"""A complete volume: what a rerun and the audit of its rows take, and the index against reading the JSON.

Goals: ``libmoe prepare`` over 600,000 files in place answers in about 2 s; opening 665,000 rows in a loader
worker takes <= 1% of the time of ``json.load`` and <= 50 MB more resident memory than before.

    python -m benchmarks.prepare.rerun [--files 600000] [--rows 665000] [--rounds 3]
"""

import argparse
import json
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.page import table, verdict
from benchmarks.prepare.processes import LIBMOE, run, seconds, workshop

_IMAGE = b"\xff\xd8\xff\xe0" + bytes(16)
_TEXT = "What is shown here, and what would somebody who knows the place say about it? " * 5
_AUDIT = """
import sys, time
from pathlib import Path
from entrypoint.catalog.load import load_catalog
from entrypoint.catalog.selection import select
from entrypoint.prepare.audit.rows import Depth, audit
from entrypoint.volume import Volume
selection = select(load_catalog(sys.argv[1]), ["pretrain"], ())
start = time.perf_counter()
audit(selection, Volume(Path(sys.argv[2])), Depth(sizes=False))
print(time.perf_counter() - start)
"""
_WORKER = """
import json, resource, sys, time
from pathlib import Path
from libmoe.data.rows import Rows
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
before, start = resident(), time.perf_counter()
if sys.argv[1] == "index":
    rows = Rows(Path(sys.argv[2]))
    one = rows[len(rows) // 2]
else:
    with open(sys.argv[2]) as file:
        rows = json.load(file)
    one = rows[len(rows) // 2]
print(json.dumps([time.perf_counter() - start, resident() - before]))
"""


def rows(count: int, images: int) -> list[dict[str, object]]:
    """LLaVA's rows, a kilobyte each."""
    turns = [{"from": "human", "value": f"<image>\n{_TEXT}"}, {"from": "gpt", "value": _TEXT}]
    return [
        {"id": f"{number:09d}", "image": name(number % images), "conversations": turns}
        for number in range(count)
    ]


def name(number: int) -> str:
    """An image's path in its archive."""
    return f"{number % 1000:05d}/{number:09d}.jpg"


def volume(folder: Path, files: int, count: int) -> list[str | Path]:
    """Prepares it for the first time; the command that did."""
    served = folder / "served/host.example"
    served.mkdir(parents=True)
    with zipfile.ZipFile(served / "images.zip", "w") as archive:
        for number in range(files):
            archive.writestr(name(number), _IMAGE)
    (served / "rows.json").write_text(json.dumps(rows(count, files)))
    (folder / "catalog.toml").write_text(
        """
        [catalog]
        name = "benchmark"
        description = "Many files"
        [stages]
        pretrain = ["rows"]
        [[artifact]]
        name = "images"
        kind = "archive"
        urls = ["https://host.example/images.zip"]
        licence = "none"
        destination = "images"
        [[artifact]]
        name = "rows"
        kind = "annotations"
        urls = ["https://host.example/rows.json"]
        licence = "none"
        destination = "jsons/rows.json"
        image_root = "images"
        needs = ["images"]
        """
    )
    where: list[str | Path] = ["--catalog", folder / "catalog.toml", "--data-dir", folder / "data"]
    command: list[str | Path] = [
        *LIBMOE,
        "prepare",
        "--stage",
        "1",
        *where,
        "--mirror",
        f"file://{folder}/served",
    ]
    run(command)
    return command


def told(program: str, *arguments: str | Path) -> list[float]:
    """What a Python of its own measured."""
    words = [sys.executable, "-c", program, *map(str, arguments)]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return found if isinstance(found, list) else [found]


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=600_000)
    parser.add_argument("--rows", type=int, default=665_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with workshop() as folder:
        command = volume(folder, arguments.files, arguments.rows)
        again = seconds([run(command) for _ in range(arguments.rounds)])
        audit = statistics.median(
            told(_AUDIT, folder / "catalog.toml", folder / "data")[0] for _ in range(arguments.rounds)
        )
        table(
            ["", "s", ""],
            [
                ["libmoe prepare, again", again, verdict(again, 2.0, False)],
                ["its audit alone", audit, f"{arguments.rows / audit:,.0f} rows a second"],
            ],
            f"A complete volume of {arguments.files} files and {arguments.rows} rows",
        )
        index, source = folder / "data/.libmoe/index/rows.arrow", folder / "data/jsons/rows.json"
        pairs = [
            (told(_WORKER, "index", index), told(_WORKER, "json", source)) for _ in range(arguments.rounds)
        ]
        ours, theirs = (
            [statistics.median(values) for values in zip(*side, strict=True)]
            for side in zip(*pairs, strict=True)
        )
        share = statistics.median(one[0] / other[0] for one, other in pairs)
        table(
            ["", "s", "MB more resident", "share of json.load's time"],
            [
                ["the index", f"{ours[0]:.4f}", verdict(ours[1], 50, False), verdict(share, 0.01, False)],
                ["json.load", f"{theirs[0]:.2f}", f"{theirs[1]:.0f}", ""],
            ],
            f"Opening {arguments.rows} rows ({source.stat().st_size / 1e6:.0f} MB of JSON) and reading one",
        )


if __name__ == "__main__":
    main()

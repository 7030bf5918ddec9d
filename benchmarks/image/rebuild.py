"""What a build takes and what a change ships: our image beside a Dockerfile of one stage, on the CPU variant.

    python -m benchmarks.image.rebuild BASE_IMAGE [--part ours|naive]

Needs a Docker engine, and a wheelhouse with the CPU-only torch where no index has it (see docker/build). Each
image is built from scratch, then after a change of code (a line more), then after a change of dependencies (a
package less). A change ships the layers that it changes.
"""

import argparse
import json
import os
import re
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.page import table

ROOT = Path(__file__).parents[2]
NAIVE = Path(__file__).with_name("naive.Dockerfile")
NAME = "libmoe-benchmark"
DOCKER = subprocess.run([ROOT / "docker/client"], capture_output=True, text=True, check=True).stdout.strip()


@dataclass(frozen=True)
class Built:
    """One build."""

    seconds: float
    layers: dict[str, int]
    """Digest to bytes, uncompressed, from the base upwards."""

    def ships(self, before: "Built") -> int:
        """Bytes of the layers that a machine with the image of before does not have."""
        return sum(size for digest, size in self.layers.items() if digest not in before.layers)


def layers() -> dict[str, int]:
    """Of the image that was built last."""
    told = subprocess.run([DOCKER, "image", "inspect", NAME], check=True, capture_output=True).stdout
    sizes: dict[str, int] = {}
    manifest = []
    with (
        subprocess.Popen([DOCKER, "save", NAME], stdout=subprocess.PIPE) as saving,
        tarfile.open(fileobj=saving.stdout, mode="r|") as saved,
    ):
        for member in saved:
            sizes[member.name] = member.size
            if member.name == "manifest.json" and (file := saved.extractfile(member)):
                manifest = json.load(file)
    return dict(
        zip(
            json.loads(told)[0]["RootFS"]["Layers"],
            (sizes[name] for name in manifest[0]["Layers"]),
            strict=True,
        )
    )


def build(kind: str, tree: Path, base: str, *arguments: str) -> Built:
    """One image of a tree, with the command that its author would give."""
    settings = {**os.environ, "IMAGE": NAME, "VARIANT": "cpu", "BASE_IMAGE": base}
    command: list[str | Path] = [tree / "docker/build", "--quiet", *arguments]
    if kind == "naive":  # a Dockerfile given later takes the place of the one before
        command += ["--file", NAIVE]
        (tree / ".dockerignore").write_text(".git\n")
    start = time.perf_counter()
    subprocess.run(command, env=settings, check=True, stdout=subprocess.DEVNULL)
    return Built(time.perf_counter() - start, layers())


def change_code(tree: Path) -> None:
    """A line more."""
    with (tree / "libmoe/train/run.py").open("a") as file:
        file.write("# changed\n")


def change_dependencies(tree: Path) -> None:
    """A package less, the last."""
    lock = tree / "docker/requirements/base.txt"
    packages = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text())
    lock.write_text("\n".join(packages[:-1]) + "\n")


def measure(kind: str, base: str) -> list[tuple[str, Built]]:
    """The three builds of one kind."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "clone", "--quiet", ROOT, tree], check=True)
        found = [("from scratch", build(kind, tree, base, "--no-cache"))]
        for name, change in (
            ("after a change of code", change_code),
            ("of dependencies", change_dependencies),
        ):
            change(tree)
            found.append((name, build(kind, tree, base)))
        return found


def main() -> None:
    """Both kinds, one table, and the layers of ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base")
    parser.add_argument("--part", choices=("ours", "naive"))
    arguments = parser.parse_args()
    kinds = [arguments.part] if arguments.part else ["ours", "naive"]
    measured = {kind: measure(kind, arguments.base) for kind in kinds}
    rows: list[list[object]] = []
    for kind, built in measured.items():
        before = Built(0, {})
        for name, one in built:
            rows.append([kind, name, one.seconds, one.ships(before) / 1e6])
            before = one
    table(("image", "build", "s", "ships, MB"), rows, "Builds")
    for kind, built in measured.items():
        sizes = built[0][1].layers
        names = ["base", "distribution's packages", "Python packages", "libmoe", "manifest and SBOM"]
        names = names if kind == "ours" else ["base", "distribution's packages", "source", "Python packages"]
        table(
            ("layer", "MB"),
            [[a, b / 1e6] for a, b in zip(names, sizes.values(), strict=False)],
            f"Layers: {kind}",
        )


if __name__ == "__main__":
    main()

"""Says whether two images of the engine are equal, and if they are not, which files of which layer differ.

    python3 docker/compare.py IMAGE IMAGE

Exits with 0 if they are equal, 1 if not, 69 if the engine does not give them.
"""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

DOCKER = os.environ.get("DOCKER", "docker")
SHOWN = 40
"""Files of a layer that are named; the rest is counted."""


@dataclass(frozen=True)
class Entry:
    """What a layer says of a file; times in seconds since 1970."""

    type: str
    mode: str
    owner: str
    time: float
    target: str
    content: str


def docker(*words: str) -> bytes:
    """What the engine answers."""
    done = subprocess.run([DOCKER, *words], capture_output=True)
    if done.returncode:
        print(f"docker/compare.py: {done.stderr.decode().strip()}", file=sys.stderr)
        sys.exit(69)
    return done.stdout


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two configurations differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    elif one != other:
        yield f"configuration, {path}: {json.dumps(one)} and {json.dumps(other)}"


def entries(layer: tarfile.TarFile) -> dict[str, Entry]:
    """Every file of a layer by its path."""
    found = {}
    for member in layer:
        file = layer.extractfile(member) if member.isfile() else None
        found[member.name] = Entry(
            type=member.type.decode(),
            mode=oct(member.mode),
            owner=f"{member.uid}:{member.gid}",
            time=float(member.pax_headers.get("mtime", member.mtime)),
            target=member.linkname,
            content=hashlib.file_digest(file, "sha256").hexdigest()[:12] if file else "",
        )
    return found


def changes(one: dict[str, Entry], other: dict[str, Entry]) -> Iterator[str]:
    """A line a file that only one has or that differs."""
    for path in sorted(one.keys() | other.keys()):
        if path not in other:
            yield f"removed  {path}"
        elif path not in one:
            yield f"added    {path}"
        elif one[path] != other[path]:
            pairs = ((field.name, getattr(one[path], field.name), getattr(other[path], field.name))
                     for field in fields(Entry))  # fmt: skip
            yield f"changed  {path}: " + ", ".join(f"{name} {a} -> {b}" for name, a, b in pairs if a != b)


class Saved:
    """An image as `docker save` writes it."""

    def __init__(self, name: str, path: Path) -> None:
        docker("save", "--output", str(path), name)
        self._tar = tarfile.TarFile(path)
        (self._manifest,) = json.load(self._open("manifest.json"))
        self.config = json.load(self._open(self._manifest["Config"]))

    def layer(self, number: int) -> dict[str, Entry]:
        """The files of one."""
        with tarfile.open(fileobj=self._open(self._manifest["Layers"][number])) as layer:
            return entries(layer)

    def _open(self, path: str) -> Any:
        return self._tar.extractfile(path)


def report(one: Saved, other: Saved) -> Iterator[str]:
    """All that differs."""
    layers = [saved.config.pop("rootfs")["diff_ids"] for saved in (one, other)]
    yield from differences(one.config, other.config)
    if len(layers[0]) != len(layers[1]):
        yield f"layers: {len(layers[0])} and {len(layers[1])}"
    for number, (a, b) in enumerate(zip(*layers, strict=False)):
        if a == b:
            continue
        yield f"layer {number + 1} of {len(layers[0])}: {a} and {b}"
        files, others = one.layer(number), other.layer(number)
        lines = list(changes(files, others))
        yield from (f"  {line}" for line in lines[:SHOWN])
        if len(lines) > SHOWN:
            yield f"  and {len(lines) - SHOWN} files more"
        if not lines:
            yield f"  the same files in another {'form' if list(files) == list(others) else 'order'}"


def main() -> None:
    """Asks for the IDs first: most often that is all."""
    names = sys.argv[1:]
    if len(names) != 2:
        sys.exit("usage: docker/compare.py IMAGE IMAGE")
    one, other = (json.loads(docker("image", "inspect", name))[0]["Id"] for name in names)
    if one == other:
        print(f"equal: {one}")
        return
    print(f"not equal: {one} and {other}")
    with tempfile.TemporaryDirectory() as folder:
        first, second = (Saved(name, Path(folder, str(number))) for number, name in enumerate(names))
        for line in report(first, second):
            print(line)
    sys.exit(1)


if __name__ == "__main__":
    main()

"""What an archive put on the volume: a line a file, so that a missing one is noticed without reading any."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from entrypoint.volume import Volume, write_text


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its path relative to the volume, its bytes, its CRC-32."""

    path: str
    size: int
    crc: int


def write_manifest(volume: Volume, name: str, entries: Iterable[Entry]) -> None:
    """Writes the manifest of an archive, whole or not at all."""
    lines = (f"{entry.size} {entry.crc:08x} {entry.path}\n" for entry in entries)
    write_text(_path(volume, name), "".join(lines))


def read_manifest(volume: Volume, name: str) -> Iterator[Entry]:
    """The files an archive put on the volume."""
    with _path(volume, name).open(encoding="utf-8") as file:
        for line in file:
            size, crc, path = line.rstrip("\n").split(" ", 2)
            yield Entry(path, int(size), int(crc, 16))


def _path(volume: Volume, name: str) -> Path:
    return volume.receipt_path(name).with_suffix(".files")

"""What an artifact put on the volume: a line a file, so that a missing one is noticed without reading any."""

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
    was: str = ""
    """The format it came in, where it was no JPEG and is called one; see `repair`."""


def write_manifest(volume: Volume, name: str, entries: Iterable[Entry]) -> None:
    """Writes the manifest of an artifact, whole or not at all."""
    lines = (f"{entry.size} {entry.crc:08x} {entry.was or '-'} {entry.path}\n" for entry in entries)
    write_text(manifest_path(volume, name), "".join(lines))


def read_manifest(volume: Volume, name: str) -> Iterator[Entry]:
    """The files an artifact put on the volume.

    Raises:
        FileNotFoundError: there is no manifest.
    """
    with manifest_path(volume, name).open(encoding="utf-8") as file:
        for line in file:
            size, crc, was, path = line.rstrip("\n").split(" ", 3)
            yield Entry(path, int(size), int(crc, 16), "" if was == "-" else was)


def manifest_files(volume: Volume, name: str) -> list[str]:
    """Their paths alone, which is quick for hundreds of thousands.

    Raises:
        FileNotFoundError: there is no manifest.
    """
    text = manifest_path(volume, name).read_text(encoding="utf-8")
    return [line.split(" ", 3)[3] for line in text.split("\n") if line]


def empty_files(volume: Volume, name: str) -> list[str]:
    """Those that came without a single byte; none where there is no manifest."""
    try:
        text = manifest_path(volume, name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [line.split(" ", 3)[3] for line in text.split("\n") if line.startswith("0 ")]


def manifest_path(volume: Volume, name: str) -> Path:
    """Where it is kept."""
    return volume.receipt_path(name).with_suffix(".files")

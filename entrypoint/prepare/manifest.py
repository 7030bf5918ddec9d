"""What an artifact put on the volume, a line for each file: a missing one is noticed without reading any."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from entrypoint.volume import Volume, write_text

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its path relative to the volume, its bytes, its CRC-32."""

    path: str
    size: int
    crc: int
    was: str = ""
    """The format it came in, where it is called a JPEG and was not one; see `repair`."""


def write_manifest(volume: Volume, name: str, entries: Iterable[Entry]) -> None:
    """Writes the manifest of an artifact, whole or not at all."""
    lines = (f"{entry.path}\t{entry.size}\t{entry.crc:08x}\t{entry.was}\n" for entry in entries)
    write_text(volume.manifest_path(name), "".join(lines))


def read_manifest(volume: Volume, name: str) -> Iterator[Entry]:
    """The files an artifact put on the volume.

    Raises:
        FileNotFoundError: there is no manifest.
    """
    with volume.manifest_path(name).open(encoding="utf-8") as file:
        for line in file:
            path, size, crc, was = line.rstrip("\n").split("\t")
            yield Entry(path, int(size), int(crc, 16), was)


def manifest_table(volume: Volume, name: str) -> "pa.Table":
    """Columns ``path`` and ``size`` of the same, which is quick for hundreds of thousands.

    Raises:
        FileNotFoundError: there is no manifest.
        ValueError: it is damaged.
    """
    import pyarrow as pa
    from pyarrow import csv

    path = volume.manifest_path(name)
    types = {"path": pa.string(), "size": pa.int64(), "crc": pa.string(), "was": pa.string()}
    if not path.stat().st_size:
        return pa.table({column: pa.array([], types[column]) for column in ("path", "size")})
    return csv.read_csv(
        path,
        csv.ReadOptions(column_names=list(types)),
        csv.ParseOptions(delimiter="\t", quote_char=False),
        csv.ConvertOptions(column_types=types, include_columns=["path", "size"], strings_can_be_null=False),
    )

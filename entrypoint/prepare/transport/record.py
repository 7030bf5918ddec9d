"""What is known of a download, kept beside its bytes: what was asked for, whether all came, their sha256.

It is the truth about a partial file; aria2's own state is not.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from entrypoint.prepare.transport.control import bytes_done, drop_control
from entrypoint.prepare.transport.source import Source
from entrypoint.volume import write_json

_BLOCK = 512


@dataclass(frozen=True)
class Record:
    """A download, as far as it has come."""

    source: Source
    complete: bool = False
    size: int = 0
    """Bytes that came, once they are complete."""
    sha256: str | None = None
    """Once the bytes were read and found right."""


def read_record(path: Path) -> Record | None:
    """The record of a download; None where there is none."""
    try:
        fields = json.loads(path.read_text())
        return Record(**{**fields, "source": Source(**fields["source"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):  # damaged is as good as none
        return None


def write_record(path: Path, record: Record) -> None:
    """Keeps it, whole or not at all."""
    write_json(path, asdict(record))


def drop_download(path: Path, record_path: Path) -> None:
    """Removes the bytes of a download, and all that is known of them."""
    drop_control(path)
    for one in (record_path, path):
        one.unlink(missing_ok=True)


def bytes_here(record: Record, path: Path) -> int:
    """Bytes of a download that need not come again."""
    if not path.exists():
        return 0
    return path.stat().st_size if record.complete or record.source.in_order else bytes_done(path)


def space_of(path: Path) -> int:
    """Bytes of the volume that a file takes already, those among them that are only reserved for it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return min(status.st_size, status.st_blocks * _BLOCK)

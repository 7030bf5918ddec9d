"""Zip archives whose bytes depend on their content alone."""

import io
import zipfile
from collections.abc import Mapping

LONG_AGO = (1980, 1, 1, 0, 0, 0)
UNIX = 3


def zip_bytes(members: Mapping[str, bytes]) -> bytes:
    """An uncompressed zip of ``members`` (path inside -> content) and their folders, sorted by path."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for folder in sorted({folder for path in members for folder in _folders(path)}):
            archive.writestr(_entry(folder, 0o40755 << 16 | 0x10), b"")
        for path in sorted(members):
            archive.writestr(_entry(path, 0o100644 << 16), members[path])
    return buffer.getvalue()


def _folders(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) + "/" for n in range(len(parts))]


def _entry(path: str, attributes: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, LONG_AGO)
    entry.create_system = UNIX
    entry.external_attr = attributes
    return entry

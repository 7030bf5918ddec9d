"""Digests of files: SHA-256 for what sources promise, CRC-32 (as in zips) for each file on the volume."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import deflate

_SHA_CHUNK = 1 << 22
_CRC_CHUNK = 1 << 20


def sha256_of(path: Path, tell: Callable[[int], None] = lambda done: None) -> str:
    """The SHA-256 of a file; ``tell`` is called with the bytes read so far and may raise to stop."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_SHA_CHUNK):
            found.update(chunk)
            tell(file.tell())
    return found.hexdigest()


def sha256_of_all(sha256s: Sequence[str]) -> str:
    """The SHA-256 of what came in parts: that of the list of theirs, a line each; of one part, its own."""
    if len(sha256s) == 1:
        return sha256s[0]
    return hashlib.sha256("".join(f"{sha256}\n" for sha256 in sha256s).encode()).hexdigest()


def crc_of(path: Path) -> int:
    """The CRC-32 of a file."""
    crc = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CRC_CHUNK):
            crc = deflate.crc32(chunk, crc)
    return crc

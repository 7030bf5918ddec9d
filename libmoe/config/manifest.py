"""What a checkpoint consists of, written into it last: so a file that was cut or changed later is noticed.

Torch-free: the training processes write it, the command line reads it before it starts them.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

NAME = "manifest.json"
_READERS = 8
"""Files that are read at once; hashing one takes a core."""
_RANK = re.compile(r"(?:pp_rank|rng_state)_(\d+)")


class Entry(BaseModel):
    """A file as it was written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int
    sha256: str


class CheckpointManifest(BaseModel):
    """The content of ``manifest.json``; ``files`` are relative to the checkpoint's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    ranks: int
    zero_stage: int
    files: Mapping[str, Entry]

    def write(self, folder: Path) -> Path:
        """Writes it, with a line that holds its own hash, and returns its path."""
        content = self.model_dump_json(indent=1)
        path = folder / NAME
        path.write_text(f"{content}\n{hashlib.sha256(content.encode()).hexdigest()}\n")
        return path

    @classmethod
    def read(cls, folder: Path) -> "CheckpointManifest":
        """Reads it.

        Raises:
            DamageError: it is missing or not as it was written.
        """
        try:
            content, _, digest = (folder / NAME).read_text().rstrip("\n").rpartition("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text"
            raise DamageError(f"its {NAME} cannot be read ({reason})") from error
        if hashlib.sha256(content.encode()).hexdigest() != digest:
            raise DamageError(f"its {NAME} is not as it was written")
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise DamageError(f"its {NAME} is of another version of libmoe") from error


class DamageError(Exception):
    """What is wrong with a checkpoint, as the end of a sentence about it."""


def hashed(folder: Path, names: Iterable[str]) -> dict[str, Entry]:
    """The entries of some files of a folder."""
    listed = list(names)
    with ThreadPoolExecutor(_READERS) as readers:
        return dict(zip(listed, readers.map(_entry, [folder / name for name in listed]), strict=True))


def written_by(rank: int, folder: Path) -> list[str]:
    """The files of a checkpoint that a rank has written; those that name no rank are the first's."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in names if name != NAME and _writer(name) == rank)


def check(folder: Path) -> CheckpointManifest:
    """Reads a whole checkpoint and compares it with what was written.

    Raises:
        DamageError: a file is missing, cut or changed; names the first.
    """
    manifest = CheckpointManifest.read(folder)
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise DamageError(f"{name} is missing")
        if path.stat().st_size != entry.bytes:
            raise DamageError(f"{name} has {path.stat().st_size:,} bytes, not {entry.bytes:,}")
    try:
        found = hashed(folder, manifest.files)
    except OSError as error:
        raise DamageError(f"{error.filename} cannot be read ({error.strerror})") from error
    for name, entry in manifest.files.items():
        if found[name] != entry:
            raise DamageError(f"{name} is not as it was written (its sha256 differs)")
    return manifest


def _entry(path: Path) -> Entry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(bytes=path.stat().st_size, sha256=digest)


def _writer(name: str) -> int:
    found = _RANK.search(name)
    return int(found[1]) if found else 0

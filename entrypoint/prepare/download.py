"""One artifact from one URL to whole, verified bytes in the partial folder.

Our own record of it (``partial/<name>.json``) says what is being fetched, whether every byte came, and the
sha256 once it was checked. Bytes that do not belong to what the URL offers now are dropped, never continued.
"""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.aria2 import Aria2, StoppedError
from entrypoint.prepare.control import bytes_done, control_path
from entrypoint.prepare.events import Emit, Progress
from entrypoint.prepare.source import Source
from entrypoint.volume import Volume, write_json

_CHUNK = 1 << 22


class BadBytesError(Exception):
    """What came is not what was promised; it has been dropped."""


@dataclass(frozen=True)
class Record:
    """What is known of a download."""

    source: Source
    complete: bool = False
    size: int = 0
    """Bytes that came, once they are complete."""
    sha256: str | None = None
    """Once the bytes were read and found right."""


def sha256_of(file: BinaryIO, tell: Callable[[int], None]) -> str:
    """The digest of a whole file; ``tell`` is called with the bytes read so far and may raise to stop."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        tell(file.tell())
    return digest.hexdigest()


def read_record(path: Path) -> Record | None:
    """The record of a download; None where there is none."""
    try:
        fields = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return Record(**{**fields, "source": Source(**fields["source"])})


@dataclass(frozen=True)
class Download:
    """An artifact on its way into the partial folder."""

    artifact: Artifact
    volume: Volume
    aria2: Aria2
    connections: int
    stop: threading.Event
    emit: Emit

    @property
    def path(self) -> Path:
        """Where the bytes gather."""
        return self.volume.partial(self.artifact.name)

    def from_source(self, source: Source) -> Record:
        """Fetches what is missing and verifies the whole.

        Raises:
            BadBytesError, UnreachableError, StoppedError, VolumeError: see `Aria2.download`.
        """
        record = self._continue_or_drop(source)
        if not record.complete:
            if not self.volume.has_room((source.size or 0) - bytes_done(self.path)):
                raise self.volume.full()
            self._fetch(source)
            record = replace(record, complete=True, size=self.path.stat().st_size)
            self._write(record)
            control_path(self.path).unlink(missing_ok=True)
        if record.sha256 is None:
            record = replace(record, sha256=self._verify(source))
            self._write(record)
        return record

    def drop(self) -> None:
        """Forgets the bytes and the record."""
        for path in (self._record_path, self.path, control_path(self.path)):
            path.unlink(missing_ok=True)

    def _continue_or_drop(self, source: Source) -> Record:
        known = read_record(self._record_path)
        if known and known.source.same_content(source) and self._usable(known):
            return replace(known, source=source)
        self.drop()
        record = Record(source)
        self._write(record)
        return record

    def _usable(self, known: Record) -> bool:
        return self.path.exists() and (known.complete or control_path(self.path).exists())

    def _fetch(self, source: Source) -> None:
        if source.location.startswith("file:"):
            self._copy(Path(unquote(urlsplit(source.location).path)))
        else:
            self.aria2.download(source.location, self.path, self.connections, self._progress("fetch"))

    def _copy(self, origin: Path) -> None:
        progress, size = self._progress("fetch"), origin.stat().st_size
        with origin.open("rb") as source, self.path.open("wb") as target:
            while chunk := source.read(_CHUNK):
                target.write(chunk)
                progress(source.tell(), size)

    def _verify(self, source: Source) -> str:
        size = self.path.stat().st_size
        expected_size = self.artifact.size if self.artifact.size is not None else source.size
        if expected_size is not None and size != expected_size:
            self.drop()
            raise BadBytesError(f"gave {size} bytes where {expected_size} were promised")
        progress = self._progress("verify")
        with self.path.open("rb") as file:
            seen = sha256_of(file, lambda done: progress(done, size))
        expected = self.artifact.sha256 or source.sha256
        if expected is not None and seen != expected:
            self.drop()
            raise BadBytesError(f"gave bytes with sha256 {seen} where {expected} was promised")
        return seen

    def _progress(self, phase: str) -> Callable[[int, int], None]:
        known = self.artifact.expected_size

        def tell(done: int, total: int) -> None:
            if self.stop.is_set():
                raise StoppedError
            self.emit(Progress(self.artifact.name, phase, done, total or known))

        return tell

    @property
    def _record_path(self) -> Path:
        return self.volume.partial_state(self.artifact.name)

    def _write(self, record: Record) -> None:
        write_json(self._record_path, asdict(record))

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
from entrypoint.prepare.events import Emit, Progress
from entrypoint.prepare.transport.aria2 import Aria2
from entrypoint.prepare.transport.control import bytes_done, drop_control, mend_control
from entrypoint.prepare.transport.pace import Pace
from entrypoint.prepare.transport.retry import Retry, StoppedError
from entrypoint.prepare.transport.source import Resolver, Source
from entrypoint.volume import Volume, write_json

_CHUNK = 1 << 22
_BLOCK = 512


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
        return Record(**{**fields, "source": Source(**fields["source"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):  # damaged is as good as none
        return None


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


@dataclass(frozen=True)
class Download:
    """An artifact on its way from one URL into the partial folder."""

    artifact: Artifact
    url: str
    volume: Volume
    resolver: Resolver
    aria2: Aria2
    connections: int
    retry: Retry
    stop: threading.Event
    emit: Emit

    def run(self) -> Record:
        """One attempt: asks the source, fetches what is missing and verifies the whole.

        Raises:
            RefusedError, UnreachableError: see `Resolver`.
            BadBytesError, StoppedError, VolumeError: see `Aria2.download`.
        """
        source = self.resolver.resolve(self.artifact, self.url)
        record = self._continue_or_drop(source)
        if not record.complete:
            if not self.volume.has_room((source.size or 0) - space_of(self._path)):
                raise self.volume.full()
            self._fetch(source)
            self._require_unchanged(source)
            record = replace(record, complete=True, size=self._path.stat().st_size)
            self._write(record)
            drop_control(self._path)
        if record.sha256 is None:
            record = replace(record, sha256=self._verify(source))
            self._write(record)
        return record

    def have(self) -> int:
        """Bytes that need not come again."""
        known = read_record(self._record_path)
        return bytes_here(known, self._path) if known else 0

    def _drop(self) -> None:
        """Forgets the bytes and the record."""
        drop_control(self._path)
        for path in (self._record_path, self._path):
            path.unlink(missing_ok=True)

    def _continue_or_drop(self, source: Source) -> Record:
        known = read_record(self._record_path)
        if known and known.source.same_content(source) and self._usable(known, source):
            return replace(known, source=source)
        self._drop()
        record = Record(source)
        self._write(record)
        return record

    def _usable(self, known: Record, source: Source) -> bool:
        if not self._path.exists():
            return False
        if known.complete:
            return True
        in_order = known.source.in_order
        return in_order == source.in_order and (in_order or mend_control(self._path))

    def _fetch(self, source: Source) -> None:
        tell, pace = self._progress("fetch"), Pace(self.retry)

        def progress(done: int, total: int) -> None:
            tell(done, total)
            pace.tell(done)

        if source.private:
            self.resolver.read(source, self._path, progress)
        elif source.in_order:
            self._copy(Path(unquote(urlsplit(source.location).path)))
        else:
            self.aria2.download(source.location, self._path, self.connections, progress)

    def _copy(self, origin: Path) -> None:
        progress, size = self._progress("fetch"), origin.stat().st_size
        with origin.open("rb") as source, self._path.open("ab", buffering=0) as target:
            source.seek(target.tell())
            while chunk := source.read(_CHUNK):
                target.write(chunk)
                progress(source.tell(), size)

    def _require_unchanged(self, source: Source) -> None:
        """Without a digest, a file that was replaced meanwhile may be half the old and half the new one."""
        if source.sha256 is not None or source.etag is None:
            return
        now = self.resolver.resolve(self.artifact, self.url)
        if not now.same_content(source):
            self._drop()
            raise BadBytesError("changed while it was fetched")

    def _verify(self, source: Source) -> str:
        size = self._path.stat().st_size
        expected_size = self.artifact.size if self.artifact.size is not None else source.size
        if expected_size is not None and size != expected_size:
            self._drop()
            raise BadBytesError(f"gave {size} bytes where {expected_size} were promised")
        progress = self._progress("verify")
        with self._path.open("rb") as file:
            seen = sha256_of(file, lambda done: progress(done, size))
        if source.sha256 is not None and seen != source.sha256:
            self._drop()
            raise BadBytesError(f"gave bytes with sha256 {seen} where {source.sha256} was promised")
        if source.sha256 is None and _is_web_page(self._path):
            self._drop()
            raise BadBytesError("gave a web page instead of the file")
        return seen

    def _progress(self, phase: str) -> Callable[[int, int], None]:
        known = self.artifact.expected_size

        def tell(done: int, total: int) -> None:
            if self.stop.is_set():
                raise StoppedError
            self.emit(Progress(self.artifact.name, phase, done, total or known))

        return tell

    @property
    def _path(self) -> Path:
        return self.volume.partial(self.artifact.name)

    @property
    def _record_path(self) -> Path:
        return self.volume.partial_state(self.artifact.name)

    def _write(self, record: Record) -> None:
        write_json(self._record_path, asdict(record))


def _is_web_page(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))

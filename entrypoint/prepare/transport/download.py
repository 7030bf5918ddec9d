"""One artifact from one URL to whole, verified bytes in the partial folder.

Bytes that do not belong to what the URL offers now are dropped, never continued; `record` is how we know.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from entrypoint.catalog.schema import Artifact
from entrypoint.digests import sha256_of
from entrypoint.prepare.events import Emit, Progress
from entrypoint.prepare.transport.aria2 import Aria2
from entrypoint.prepare.transport.control import drop_control, mend_control
from entrypoint.prepare.transport.pace import Pace
from entrypoint.prepare.transport.record import (
    Record,
    bytes_here,
    drop_download,
    read_record,
    space_of,
    write_record,
)
from entrypoint.prepare.transport.retry import Retry, StoppedError
from entrypoint.prepare.transport.source import Resolver, Source
from entrypoint.volume import Volume

_CHUNK = 1 << 22


class BadBytesError(Exception):
    """What came is not what was promised; it has been dropped."""


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
            write_record(self._record_path, record)
            drop_control(self._path)
        if record.sha256 is None:
            record = replace(record, sha256=self._verify(source))
            write_record(self._record_path, record)
        return record

    def have(self) -> int:
        """Bytes that need not come again."""
        known = read_record(self._record_path)
        return bytes_here(known, self._path) if known else 0

    def _drop(self) -> None:
        drop_download(self._path, self._record_path)

    def _continue_or_drop(self, source: Source) -> Record:
        known = read_record(self._record_path)
        if known and known.source.same_content(source) and self._usable(known, source):
            return replace(known, source=source)
        self._drop()
        record = Record(source)
        write_record(self._record_path, record)
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
        seen = sha256_of(self._path, lambda done: progress(done, size))
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


def _is_web_page(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))

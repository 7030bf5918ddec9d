"""From verified bytes to what a training reads: unpacked, indexed or simply in place, then the receipt."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from entrypoint.catalog.schema import Artifact
from entrypoint.digests import sha256_of_all
from entrypoint.prepare.annotations.index import build_index, rows_done
from entrypoint.prepare.arrivals import Whole
from entrypoint.prepare.downloads import Downloads
from entrypoint.prepare.events import Emit, Finished, Progress
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.manifest import Entry, write_manifest
from entrypoint.prepare.options import Options
from entrypoint.prepare.transport.record import Record
from entrypoint.prepare.transport.retry import StoppedError
from entrypoint.prepare.transport.tool import TOOL
from entrypoint.prepare.unpack.archive import BadArchiveError, LayoutRule, Member, read_members
from entrypoint.prepare.unpack.extract import Repaired, Unpacking
from entrypoint.receipt import Receipt
from entrypoint.volume import Volume
from libmoe.config.errors import DataError, VolumeError


class Installer:
    """Puts whole artifacts in their places on a volume."""

    def __init__(self, volume: Volume, options: Options, emit: Emit) -> None:
        self._volume = volume
        self._downloads = Downloads(volume)
        self._options = options
        self._emit = emit
        self._case_matters: bool | None = None
        self.stop = threading.Event()
        """Once set, unpacking ends with `StoppedError`; what is in place stays."""

    def install(self, whole: Whole) -> None:
        """The last steps of an artifact; its receipt is written when all is in place.

        Raises:
            DataError: the archive is corrupt or hostile, or the JSON is not LLaVA's; its bytes are dropped.
            VolumeError: it does not fit.
        """
        artifact = whole.artifact
        try:
            if artifact.kind == "archive":
                files, size = self._unpack(whole)
            elif artifact.kind == "images":
                files, size = self._list(artifact)
            else:
                files, size = self._place(artifact, whole.records[0])
        except DataError:
            for download in artifact.downloads:
                self._downloads.drop(download)
            raise
        self._write_receipt(whole, files, size)
        for download in artifact.downloads:
            self._downloads.forget(download, self._options.keep_archives or artifact.kind == "images")
        self._emit(Finished(artifact.name, files, size))

    def _unpack(self, whole: Whole) -> tuple[int, int]:
        artifact = whole.artifact
        for download in artifact.downloads:
            self._downloads.set_aside(download)
        paths = tuple(self._volume.archive(download.name) for download in artifact.downloads)
        try:
            members = read_members(paths, LayoutRule.of(artifact, self._tells_case()))
            self._require_space(artifact, members)
            repaired = self._run(artifact, paths, members)
        except BadArchiveError as error:
            sources = ", ".join(record.source.url for record in whole.records)
            raise DataError(
                f"The archive {artifact.name} is bad: {error}. It has been dropped; run the same command "
                f"again to fetch it anew; if that fails too, {sources} itself is bad: use --mirror "
                "or another catalogue."
            ) from error
        entries = _entries(artifact.destination, members, repaired)
        write_manifest(self._volume, artifact.name, entries)
        return len(entries), sum(entry.size for entry in entries)

    def _list(self, artifact: Artifact) -> tuple[int, int]:
        """The images follow once it is known which are used; see `pictures`."""
        self._downloads.set_aside(artifact)
        return 0, 0

    def _tells_case(self) -> bool:
        if self._case_matters is None:
            self._case_matters = self._volume.tells_case()
        return self._case_matters

    def _run(self, artifact: Artifact, archive: tuple[Path, ...], members: list[Member]) -> list[Repaired]:
        total, done = sum(member.size for member in members), 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            self._emit(Progress(artifact.name, "unpack", done, total))
            if self.stop.is_set():
                raise StoppedError

        destination = self._volume.path(artifact.destination)
        unpacking = Unpacking(archive, destination, self._volume.unpacking(artifact.name))
        return unpacking.run(members, self._options.jobs, progress)

    def _require_space(self, artifact: Artifact, members: list[Member]) -> None:
        """A bomb or a surprise is stopped before it fills the volume; files left by an earlier run count."""
        here = Listing(self._volume.path(artifact.destination))
        absent = [member for member in members if not here.has(member.target)]
        if not self._volume.has_room(sum(member.size for member in absent)):
            raise self._volume.full()
        if not self._volume.has_inodes(len(absent)):
            raise VolumeError(
                f"The volume {self._volume.root} has too few inodes for the {len(absent)} files of "
                f"{artifact.name}: use a file system with more, or choose another with --data-dir."
            )

    def _place(self, artifact: Artifact, record: Record) -> tuple[int, int]:
        partial, final = self._volume.partial(artifact.name), self._volume.path(artifact.destination)
        if partial.exists():
            if artifact.kind == "annotations":
                tell = rows_done(artifact.name, self._emit)
                build_index(artifact, self._volume, partial, _sha256(record), tell)
            final.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(final)
        return 1, record.size

    def _write_receipt(self, whole: Whole, files: int, unpacked_size: int) -> None:
        artifact, source = whole.artifact, whole.records[0].source
        self._volume.write_receipt(
            Receipt(
                name=artifact.name,
                kind=artifact.kind,
                destination=artifact.destination,
                url=source.url,
                source=source.host,
                revision=artifact.revision,
                commit=source.commit,
                sha256=sha256_of_all([_sha256(record) for record in whole.records]),
                size=sum(record.size for record in whole.records),
                files=files,
                unpacked_size=unpacked_size,
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                tool=TOOL,
            )
        )


def _entries(destination: str, members: Sequence[Member], repaired: Sequence[Repaired]) -> list[Entry]:
    mended = {one.target: one for one in repaired}
    entries = []
    for member in members:
        path = f"{destination}/{member.target}".lstrip("/")
        one = mended.get(member.target)
        entries.append(
            Entry(path, one.size, one.crc, one.was) if one else Entry(path, member.size, member.crc)
        )
    return entries


def _sha256(record: Record) -> str:
    if record.sha256 is None:
        raise AssertionError(f"{record.source.url} was not verified")
    return record.sha256

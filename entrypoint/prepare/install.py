"""From verified bytes to what a training reads: unpacked, indexed or simply in place, then the receipt."""

from datetime import UTC, datetime
from pathlib import Path

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.archive import BadArchiveError, Member, read_members
from entrypoint.prepare.control import control_path
from entrypoint.prepare.download import Record, read_record, sha256_of
from entrypoint.prepare.events import Emit, Finished, Progress
from entrypoint.prepare.extract import Unpacking
from entrypoint.prepare.fetch import Fetched, Options
from entrypoint.prepare.index import build_index, is_current
from entrypoint.prepare.manifest import Entry, write_manifest
from entrypoint.prepare.tool import TOOL
from entrypoint.volume import Receipt, Volume
from libmoe.config.errors import DataError


class Installer:
    """Puts fetched artifacts in their places on a volume."""

    def __init__(self, volume: Volume, options: Options, emit: Emit) -> None:
        self._volume = volume
        self._options = options
        self._emit = emit

    def install(self, fetched: Fetched) -> None:
        """The last steps of an artifact; its receipt is written when all is in place.

        Raises:
            DataError: the archive is corrupt or hostile, or the JSON is not LLaVA's; its bytes are dropped.
            VolumeError: it does not fit.
        """
        artifact, record = fetched.artifact, fetched.record
        try:
            if artifact.kind == "archive":
                files, size = self._unpack(artifact, record)
            else:
                files, size = self._place(artifact, record)
        except DataError:
            self._drop(artifact)
            raise
        self._write_receipt(artifact, record, files, size)
        self._clean(artifact)
        self._emit(Finished(artifact.name, files, size))

    def waiting(self, artifact: Artifact) -> Fetched | None:
        """What needs no fetching: an archive that was kept, or what a prepare left that was killed."""
        return self._waiting_archive(artifact) if artifact.kind == "archive" else self._placed(artifact)

    def _waiting_archive(self, artifact: Artifact) -> Fetched | None:
        record = read_record(self._volume.archive_state(artifact.name))
        if record is None or record.sha256 is None or not self._volume.archive(artifact.name).is_file():
            return None
        outdated = artifact.sha256 not in (None, record.sha256) or record.source.url not in artifact.urls
        return None if outdated else Fetched(artifact, record)

    def _placed(self, artifact: Artifact) -> Fetched | None:
        """A file that was put in its place by a prepare that was killed before it wrote the receipt."""
        record = read_record(self._volume.partial_state(artifact.name))
        final = self._volume.path(artifact.destination)
        if record is None or record.sha256 is None or self._volume.partial(artifact.name).exists():
            return None
        if not final.is_file() or final.stat().st_size != record.size:
            return None
        with final.open("rb") as file:
            same = sha256_of(file, lambda done: None) == record.sha256
        return Fetched(artifact, record) if same else None

    def index(self, artifact: Artifact) -> None:
        """Makes the index of annotations that are in place, unless it is up to date."""
        receipt = self._volume.receipt(artifact.name)
        if receipt is None or is_current(artifact, self._volume, receipt.sha256):
            return
        try:
            self._build_index(artifact, self._volume.path(artifact.destination), receipt.sha256)
        except DataError:
            self._volume.receipt_path(artifact.name).unlink()  # it is not what was verified once
            raise

    def _unpack(self, artifact: Artifact, record: Record) -> tuple[int, int]:
        archive = self._volume.archive(artifact.name)
        self._set_archive_aside(artifact)
        try:
            members = read_members(archive, artifact.layout, artifact.strip)
            self._require_space(artifact, members)
            self._run(artifact, archive, members)
        except BadArchiveError as error:
            raise DataError(
                f"The archive {artifact.name} is bad: {error}. It has been dropped; run the same command "
                f"again to fetch it anew; if that repeats, {record.source.url} itself is bad: use --mirror "
                "or another catalogue."
            ) from error
        entries = [
            Entry(f"{artifact.destination}/{member.target}".lstrip("/"), member.size, member.crc)
            for member in members
        ]
        write_manifest(self._volume, artifact.name, entries)
        return len(members), sum(member.size for member in members)

    def _set_archive_aside(self, artifact: Artifact) -> None:
        """The record first: an archive under this name is one whose record is there."""
        partial, archive = self._volume.partial(artifact.name), self._volume.archive(artifact.name)
        if partial.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            archive.unlink(missing_ok=True)
            self._volume.partial_state(artifact.name).replace(self._volume.archive_state(artifact.name))
            partial.replace(archive)

    def _run(self, artifact: Artifact, archive: Path, members: list[Member]) -> None:
        total, done = sum(member.size for member in members), 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            self._emit(Progress(artifact.name, "unpack", done, total))

        destination = self._volume.path(artifact.destination)
        Unpacking(archive, destination, self._volume.unpacking(artifact.name)).run(
            members, self._options.jobs, progress
        )

    def _require_space(self, artifact: Artifact, members: list[Member]) -> None:
        """A bomb or a surprise is stopped before it fills the volume; files left by an earlier run count."""
        destination = self._volume.path(artifact.destination)
        missing = sum(member.size for member in members if not (destination / member.target).exists())
        if not self._volume.has_room(missing):
            raise self._volume.full()

    def _place(self, artifact: Artifact, record: Record) -> tuple[int, int]:
        partial, final = self._volume.partial(artifact.name), self._volume.path(artifact.destination)
        if partial.exists():
            if artifact.kind == "annotations":
                self._build_index(artifact, partial, _sha256(record))
            final.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(final)
        return 1, record.size

    def _build_index(self, artifact: Artifact, json_path: Path, sha256: str) -> None:
        def progress(rows: int) -> None:
            self._emit(Progress(artifact.name, "index", rows, None))

        build_index(artifact, self._volume, json_path, sha256, progress)

    def _write_receipt(self, artifact: Artifact, record: Record, files: int, unpacked_size: int) -> None:
        self._volume.write_receipt(
            Receipt(
                name=artifact.name,
                kind=artifact.kind,
                destination=artifact.destination,
                url=record.source.url,
                source=record.source.host,
                revision=artifact.revision,
                commit=record.source.commit,
                sha256=_sha256(record),
                size=record.size,
                files=files,
                unpacked_size=unpacked_size,
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                tool=TOOL,
            )
        )

    def _clean(self, artifact: Artifact) -> None:
        self._volume.partial_state(artifact.name).unlink(missing_ok=True)
        if not self._options.keep_archives:
            self._drop_archive(artifact)

    def _drop(self, artifact: Artifact) -> None:
        partial = self._volume.partial(artifact.name)
        for path in (self._volume.partial_state(artifact.name), partial, control_path(partial)):
            path.unlink(missing_ok=True)
        self._drop_archive(artifact)

    def _drop_archive(self, artifact: Artifact) -> None:
        self._volume.archive_state(artifact.name).unlink(missing_ok=True)
        self._volume.archive(artifact.name).unlink(missing_ok=True)


def _sha256(record: Record) -> str:
    if record.sha256 is None:
        raise AssertionError(f"{record.source.url} was not verified")
    return record.sha256

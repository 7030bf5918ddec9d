"""Downloads that are whole: found again after a kill, set aside until they are installed, removed after."""

from entrypoint.catalog.schema import Artifact
from entrypoint.digests import sha256_of
from entrypoint.prepare.transport.fetch import Fetched
from entrypoint.prepare.transport.record import drop_download, read_record
from entrypoint.volume import Volume


class Downloads:
    """The whole downloads of a volume."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def find(self, artifact: Artifact, download: Artifact) -> Fetched | None:
        """A download of an artifact that needs no fetching: it was kept, or a killed prepare left it."""
        aside = artifact.kind in ("archive", "images")
        return self._archive(download) if aside else self._placed(download)

    def set_aside(self, download: Artifact) -> None:
        """Keeps a fetched archive, or a part of one, until it can be unpacked.

        The record goes first: an archive under this name is one whose record is there.
        """
        partial, archive = self._volume.partial(download.name), self._volume.archive(download.name)
        if partial.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            archive.unlink(missing_ok=True)
            self._volume.partial_state(download.name).replace(self._volume.archive_state(download.name))
            partial.replace(archive)

    def forget(self, download: Artifact, keep_archive: bool) -> None:
        """Removes what an installed artifact needs no more."""
        self._volume.partial_state(download.name).unlink(missing_ok=True)
        if not keep_archive:
            self._drop_archive(download)

    def drop(self, download: Artifact) -> None:
        """Removes a download that proved bad."""
        drop_download(self._volume.partial(download.name), self._volume.partial_state(download.name))
        self._drop_archive(download)

    def _archive(self, download: Artifact) -> Fetched | None:
        record = read_record(self._volume.archive_state(download.name))
        if record is None or record.sha256 is None or not self._volume.archive(download.name).is_file():
            return None
        outdated = download.sha256 not in (None, record.sha256) or record.source.url not in download.urls
        return None if outdated else Fetched(download, record)

    def _placed(self, download: Artifact) -> Fetched | None:
        """A file that was put in its place by a prepare that was killed before it wrote the receipt."""
        record = read_record(self._volume.partial_state(download.name))
        final = self._volume.path(download.destination)
        if record is None or record.sha256 is None or self._volume.partial(download.name).exists():
            return None
        if not final.is_file() or final.stat().st_size != record.size:
            return None
        return Fetched(download, record) if sha256_of(final) == record.sha256 else None

    def _drop_archive(self, download: Artifact) -> None:
        self._volume.archive_state(download.name).unlink(missing_ok=True)
        self._volume.archive(download.name).unlink(missing_ok=True)

"""Images that a list names by URL: those the annotations use are fetched from where they lie.

The list is a JSON object, image id to ``{"imageURL": ...}``, as OCR-VQA's. Some of them are always gone: they
are counted and remembered, not fatal. What failed in a way that may pass is tried again by the next prepare.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from entrypoint.catalog.schema import Artifact
from entrypoint.catalog.selection import Selection
from entrypoint.prepare.annotations.index import image_column
from entrypoint.prepare.events import Emit, Finished, Progress, Said
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.manifest import Entry, manifest_path, read_manifest, write_manifest
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.many import ManyFiles
from entrypoint.prepare.unpack.extract import crc_of
from entrypoint.prepare.unpack.repair import as_jpeg, format_of, head_of
from entrypoint.volume import Volume, write_text
from libmoe.config.errors import DataError

_GONE = "gone"


class Pictures:
    """The images of one artifact on a volume."""

    def __init__(self, artifact: Artifact, volume: Volume, addresses: Addresses, emit: Emit) -> None:
        self._artifact = artifact
        self._volume = volume
        self._addresses = addresses
        self._emit = emit

    def bring(self, selection: Selection) -> None:
        """Fetches what the selected annotations use and is not there yet.

        Raises:
            DataError: the list is none.
            VolumeError: the volume is full.
        """
        entries, failures = self._known()
        wanted = self._used_by(selection) - entries.keys() - set(self._lost(failures))
        if wanted or not manifest_path(self._volume, self._artifact.name).exists():
            addresses = self._look_up(wanted)
            failures = {path: reason for path, reason in failures.items() if path not in wanted}
            failures |= dict.fromkeys(wanted - addresses.keys(), f"{_GONE} (not in the list)")
            try:
                self._fetch(addresses, entries, failures)
            finally:
                self._remember(entries, failures)
            self._tell(entries, failures)

    def _fetch(
        self, addresses: Mapping[str, str], entries: dict[str, Entry], failures: dict[str, str]
    ) -> None:
        aside = self._volume.unpacking(self._artifact.name)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        self._volume.path(self._artifact.destination).mkdir(parents=True, exist_ok=True)
        here = {path for path in addresses if self._volume.path(path).is_file()}
        entries |= {path: self._entry(path) for path in here}  # a prepare that was killed brought them
        names = {PurePosixPath(path).name: path for path in addresses.keys() - here}
        with ManyFiles(self._volume) as many:
            far = {name: addresses[path] for name, path in names.items()}
            for name, reason in many.fetch(aside, far, self._progress(len(far))):
                path = names[name]
                problem = reason or self._take(aside / name, path, entries)
                if problem:
                    failures[path] = problem
        shutil.rmtree(aside)

    def _take(self, fetched: Path, path: str, entries: dict[str, Entry]) -> str:
        """Puts a file in its place if it is an image; the problem if it is none."""
        was = format_of(head_of(fetched))
        if was is None:
            return f"{_GONE} (what came is no image)"
        if was != "jpeg":
            jpeg = as_jpeg(fetched)
            if jpeg is None:
                return f"{_GONE} (what came does not decode)"
            fetched.write_bytes(jpeg)
        fetched.replace(self._volume.path(path))
        entries[path] = replace(self._entry(path), was="" if was == "jpeg" else was)
        return ""

    def _entry(self, path: str) -> Entry:
        file = self._volume.path(path)
        return Entry(path, file.stat().st_size, crc_of(file))

    def _used_by(self, selection: Selection) -> set[str]:
        import pyarrow.compute as pc

        used: set[str] = set()
        for artifact in selection.artifacts:
            if artifact.kind == "annotations" and self._volume.index_path(artifact.name).is_file():
                images = pc.unique(pc.list_flatten(image_column(self._volume, artifact.name)))
                below = pc.starts_with(images, f"{self._artifact.destination}/")
                used.update(images.filter(below).to_pylist())
        return used

    def _look_up(self, wanted: set[str]) -> dict[str, str]:
        """Path to address, for those the list has."""
        ids = {PurePosixPath(path).stem: path for path in wanted}
        return {ids[key]: self._addresses.rewrite(url) for key, url in self._listed() if key in ids and url}

    def _listed(self) -> Iterator[tuple[str, str]]:
        import ijson

        path, empty = self._volume.archive(self._artifact.name), True
        try:
            with path.open("rb") as file:
                for key, value in ijson.kvitems(file, ""):
                    yield key, value["imageURL"]
                    empty = False
            if empty:
                raise TypeError("it is empty or no object")
        except (ijson.JSONError, TypeError, KeyError, UnicodeDecodeError) as error:
            path.unlink()
            raise DataError(
                f"The list of {self._artifact.name} is no list of images ({error}): run the same command "
                "again, which fetches it anew; if that repeats, its source is bad."
            ) from error

    def _known(self) -> tuple[dict[str, Entry], dict[str, str]]:
        try:
            entries = {entry.path: entry for entry in read_manifest(self._volume, self._artifact.name)}
            lines = self._failures_path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}, {}
        listing = Listing(self._volume.root)
        entries = {path: entry for path, entry in entries.items() if listing.has(path)}
        return entries, {path: reason for reason, path in (line.split("\t", 1) for line in lines)}

    def _lost(self, failures: Mapping[str, str]) -> Iterator[str]:
        return (path for path, reason in failures.items() if reason.startswith(_GONE))

    def _remember(self, entries: Mapping[str, Entry], failures: Mapping[str, str]) -> None:
        lines = [f"{' '.join(reason.split())}\t{path}\n" for path, reason in sorted(failures.items())]
        write_text(self._failures_path, "".join(lines))
        write_manifest(self._volume, self._artifact.name, (entries[path] for path in sorted(entries)))

    @property
    def _failures_path(self) -> Path:
        return manifest_path(self._volume, self._artifact.name).with_suffix(".failed")

    def _progress(self, total: int) -> Callable[[int], None]:
        return lambda tried: self._emit(Progress(self._artifact.name, "images", tried, total))

    def _tell(self, entries: Mapping[str, Entry], failures: Mapping[str, str]) -> None:
        size = sum(entry.size for entry in entries.values())
        self._emit(Finished(self._artifact.name, len(entries), size))
        if failures:
            self._emit(
                Said(f"{self._artifact.name}: {len(failures)} images cannot be had: {self._failures_path}")
            )

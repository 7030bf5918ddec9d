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
from entrypoint.digests import crc_of
from entrypoint.prepare.annotations.index import image_column
from entrypoint.prepare.events import Emit, Finished, Progress, Said
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.manifest import Entry, read_manifest, write_manifest
from entrypoint.prepare.options import Options
from entrypoint.prepare.transport.many import ManyFiles, Miss
from entrypoint.prepare.transport.retry import RefusedError, UnreachableError
from entrypoint.prepare.unpack.repair import as_jpeg, format_of, head_of
from entrypoint.volume import Volume, write_text
from libmoe.config.errors import DataError, UnavailableError

_COLUMNS = ("kind", "reason", "path")
"""Of the list of images that did not come."""
_GONE, _LATER = "gone", "later"
"""The kinds: those that may come yet are asked for again."""


class Pictures:
    """The images of one artifact on a volume."""

    def __init__(self, artifact: Artifact, volume: Volume, options: Options, emit: Emit) -> None:
        self._artifact = artifact
        self._volume = volume
        self._addresses = options.addresses
        self._retry = options.retry
        self._missed = volume.missed_path(artifact.name)
        self._emit = emit

    def bring(self, selection: Selection) -> None:
        """Fetches what the selected annotations use and is not there yet.

        Raises:
            DataError: what should be the list of images is something else.
            VolumeError: the volume is full.
            UnavailableError: aria2c fails again and again.
        """
        entries, misses = self._known()
        wanted = self._used_by(selection) - entries.keys()
        wanted -= {path for path, miss in misses.items() if miss.for_good}
        if wanted or not self._volume.manifest_path(self._artifact.name).exists():
            addresses = self._look_up(wanted)
            misses = {path: miss for path, miss in misses.items() if path not in wanted}
            misses |= {path: Miss(path, "not in the list", True) for path in wanted - addresses.keys()}
            try:
                self._fetch(addresses, entries, misses)
            finally:
                self._remember(entries, misses)
            self._tell(entries, misses)

    def _fetch(
        self, addresses: Mapping[str, str], entries: dict[str, Entry], misses: dict[str, Miss]
    ) -> None:
        aside = self._volume.unpacking(self._artifact.name)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        self._volume.path(self._artifact.destination).mkdir(parents=True, exist_ok=True)
        here = {path for path in addresses if self._volume.path(path).is_file()}
        entries |= {path: self._entry(path) for path in here}  # a prepare that was killed brought them
        paths = {PurePosixPath(path).name: path for path in addresses.keys() - here}
        try:
            with ManyFiles(self._volume, self._retry, self._wait) as many:
                far = {name: addresses[path] for name, path in paths.items()}
                for came in many.fetch(aside, far, self._progress(len(far))):
                    miss = came if isinstance(came, Miss) else self._take(aside / came, paths[came], entries)
                    if miss:
                        misses[paths[miss.name]] = miss
        except RefusedError as refusal:
            raise UnavailableError(
                f"The images of {self._artifact.name} {refusal}: those that came are kept; "
                "run the same command again, which fetches the others."
            ) from refusal
        shutil.rmtree(aside)

    def _take(self, fetched: Path, path: str, entries: dict[str, Entry]) -> Miss | None:
        """Puts a file in its place if it is an image."""
        was = format_of(head_of(fetched))
        if was is None:
            return Miss(fetched.name, "what came is not an image", True)
        if was != "jpeg":
            jpeg = as_jpeg(fetched)
            if jpeg is None:
                return Miss(fetched.name, "what came does not decode", True)
            fetched.write_bytes(jpeg)
        fetched.replace(self._volume.path(path))
        entries[path] = replace(self._entry(path), was="" if was == "jpeg" else was)
        return None

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
                raise TypeError("it is empty or not an object")
        except (ijson.JSONError, TypeError, KeyError, UnicodeDecodeError) as error:
            path.unlink()
            raise DataError(
                f"The list of {self._artifact.name} is not a list of images ({error}): run the same command "
                "again, which fetches it again; if that fails too, its source is bad."
            ) from error

    def _known(self) -> tuple[dict[str, Entry], dict[str, Miss]]:
        """What came, and what did not, as far as earlier prepares have written it down."""
        try:
            entries = {entry.path: entry for entry in read_manifest(self._volume, self._artifact.name)}
            rows = [line.split("\t") for line in self._missed.read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError:
            return {}, {}
        listing = Listing(self._volume.root)
        entries = {path: entry for path, entry in entries.items() if listing.has(path)}
        known = (row for row in rows if len(row) == len(_COLUMNS))  # an older libmoe's are asked for again
        return entries, {path: Miss(path, reason, kind == _GONE) for kind, reason, path in known}

    def _remember(self, entries: Mapping[str, Entry], misses: Mapping[str, Miss]) -> None:
        lines = [
            f"{_GONE if miss.for_good else _LATER}\t{' '.join(miss.reason.split())}\t{path}\n"
            for path, miss in sorted(misses.items())
        ]
        write_text(self._missed, "".join(lines))
        write_manifest(self._volume, self._artifact.name, (entries[path] for path in sorted(entries)))

    def _progress(self, total: int) -> Callable[[int], None]:
        return lambda tried: self._emit(Progress(self._artifact.name, "images", tried, total))

    def _wait(self, error: UnreachableError, seconds: float) -> None:
        self._emit(Said(f"{self._artifact.name}: its images {error}; trying again in {seconds:.1f} s"))

    def _tell(self, entries: Mapping[str, Entry], misses: Mapping[str, Miss]) -> None:
        size = sum(entry.size for entry in entries.values())
        self._emit(Finished(self._artifact.name, len(entries), size))
        if misses:
            listed = f"all of them are listed in {self._missed}"
            self._emit(Said(f"{self._artifact.name}: {len(misses)} images did not come; {listed}"))

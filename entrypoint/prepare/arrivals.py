"""From downloads to artifacts: an artifact is whole when the last of its downloads is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.downloads import Downloads
from entrypoint.prepare.transport.fetch import Fetched
from entrypoint.prepare.transport.record import Record


@dataclass(frozen=True)
class Whole:
    """An artifact of which every byte is here: one record per download, in the order of `downloads`."""

    artifact: Artifact
    records: tuple[Record, ...]


class Arrivals:
    """Which downloads of which artifacts are here, so that parts are joined when the last has come."""

    def __init__(self, artifacts: Sequence[Artifact]) -> None:
        self._owner = {download.name: artifact for artifact in artifacts for download in artifact.downloads}
        self._here: dict[str, dict[str, Record]] = {artifact.name: {} for artifact in artifacts}

    def add(self, fetched: Fetched) -> Whole | None:
        """The artifact, if this download was the last of it."""
        artifact = self._owner[fetched.artifact.name]
        here = self._here[artifact.name]
        here[fetched.artifact.name] = fetched.record
        if len(here) < len(artifact.downloads):
            return None
        return Whole(artifact, tuple(here[download.name] for download in artifact.downloads))


def split(artifacts: Sequence[Artifact], downloads: Downloads) -> tuple[list[Fetched], list[Artifact]]:
    """What needs no fetching, and what does."""
    here: list[Fetched] = []
    missing: list[Artifact] = []
    for artifact in artifacts:
        for download in artifact.downloads:
            waiting = downloads.find(artifact, download)
            here.append(waiting) if waiting else missing.append(download)
    return here, missing


def wholes(fetched: Iterator[Fetched], arrivals: Arrivals, downloads: Downloads) -> Iterator[Whole]:
    """Artifacts as their last download comes; a part is set aside until then."""
    for one in fetched:
        if whole := arrivals.add(one):
            yield whole
        else:
            downloads.set_aside(one.artifact)

"""Unpacks while the next archives are still on their way: one thread installs what another fetches."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.events import Emit, Failed
from entrypoint.prepare.install import Installer, Whole
from entrypoint.prepare.options import WHOLE_AT_ONCE
from entrypoint.prepare.transport.fetch import Fetched
from entrypoint.prepare.transport.record import Record
from libmoe.config.errors import DataError, LibmoeError


class Pipeline:
    """Installs artifacts in the background, in the order they come; leaving the context waits for the end."""

    def __init__(self, installer: Installer, emit: Emit) -> None:
        self._installer = installer
        self._emit = emit
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="install")
        self._room = threading.Semaphore(WHOLE_AT_ONCE)
        self._broken: BaseException | None = None
        self.failures: list[LibmoeError] = []

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._installer.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is None:
            self._raise_if_broken()

    def put(self, whole: Whole) -> None:
        """Takes an artifact; waits as long as too many archives are on the volume.

        Raises:
            LibmoeError: an earlier one could not be written.
        """
        self._room.acquire()
        self._raise_if_broken()
        self._pool.submit(self._install, whole)

    def _install(self, whole: Whole) -> None:
        try:
            if self._broken is None:
                self._installer.install(whole)
        except DataError as error:
            self._emit(Failed(whole.artifact.name, str(error)))
            self.failures.append(error)
        except BaseException as error:
            self._broken = error
        finally:
            self._room.release()

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise self._broken


class Arrivals:
    """Which downloads of which artifacts are here, so that parts are joined when the last has come."""

    def __init__(self, artifacts: Sequence[Artifact]) -> None:
        self._owner = {download.name: artifact for artifact in artifacts for download in artifact.downloads}
        self._here: dict[str, dict[str, Record]] = {artifact.name: {} for artifact in artifacts}

    def owner(self, fetched: Fetched) -> Artifact:
        """The artifact a download belongs to."""
        return self._owner[fetched.artifact.name]

    def add(self, fetched: Fetched) -> Whole | None:
        """The artifact, if this download was the last of it."""
        artifact = self.owner(fetched)
        here = self._here[artifact.name]
        here[fetched.artifact.name] = fetched.record
        if len(here) < len(artifact.downloads):
            return None
        return Whole(artifact, tuple(here[download.name] for download in artifact.downloads))


def split(artifacts: Sequence[Artifact], installer: Installer) -> tuple[list[Fetched], list[Artifact]]:
    """What needs no fetching, and what does."""
    here: list[Fetched] = []
    missing: list[Artifact] = []
    for artifact in artifacts:
        for download in artifact.downloads:
            waiting = installer.waiting(artifact, download)
            here.append(waiting) if waiting else missing.append(download)
    return here, missing


def wholes(fetched: Iterator[Fetched], arrivals: Arrivals, installer: Installer) -> Iterator[Whole]:
    """Artifacts as their last download comes; a part is set aside until then."""
    for one in fetched:
        if whole := arrivals.add(one):
            yield whole
        else:
            installer.keep(one)

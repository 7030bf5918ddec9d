"""Unpacks while the next archives are still on their way: one thread installs what another fetches."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from entrypoint.prepare.arrivals import Whole
from entrypoint.prepare.events import Emit, Failed
from entrypoint.prepare.install import Installer
from entrypoint.prepare.options import WHOLE_AT_ONCE
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

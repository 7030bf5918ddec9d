"""aria2c for as long as somebody downloads with it: started when needed, started again where it has died.

Its failures are reported in our own terms: `UnreachableError` where aria2c itself failed,
`VolumeError` where a download ended because of the volume.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from entrypoint.prepare.transport.daemon import Daemon, end_leftover
from entrypoint.prepare.transport.retry import UnreachableError
from entrypoint.volume import Volume
from libmoe.config.errors import VolumeError

if TYPE_CHECKING:
    import aria2p

_NO_SPACE = 9
_NO_SPACE_WORDS = ("No space left", "quota exceeded")
_FLUSH_WORDS = "cache flush failure"
_CACHE_BYTES = 64 << 20
_FILE_TROUBLE = (15, 16, 17, 18)


class GaveUpError(Exception):
    """aria2's reason for giving a download up."""

    def __init__(self, code: int, message: str) -> None:
        """``code``: aria2's exit status for it (its manual lists them)."""
        super().__init__(message or f"aria2 error {code}")
        self.code = code

    @classmethod
    def of(cls, told: Mapping[str, str]) -> "GaveUpError":
        """From the status of a download."""
        return cls(int(told.get("errorCode", 1)), told.get("errorMessage", ""))


class Session:
    """The one aria2c of a context; leaving the context ends it."""

    def __init__(self, volume: Volume, settings: Mapping[str, str] | None = None) -> None:
        """``settings``: aria2's own, beside `daemon.OPTIONS`."""
        self._volume = volume
        self._settings = settings or {}
        self._starting = threading.Lock()
        self._daemon: Daemon | None = None

    def __enter__(self) -> "Session":
        end_leftover(self._volume.writer_folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends aria2c with everything under way in it; the next `client` starts another."""
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None
            end_leftover(self._volume.writer_folder)

    @contextlib.contextmanager
    def client(self) -> Iterator["aria2p.Client"]:
        """A connection to aria2c, which runs now.

        Raises:
            UnreachableError: aria2c died or refused a call while the connection was used.
            ConfigError: it is not installed, or does not start.
        """
        import aria2p
        import requests

        daemon = self._running()
        try:
            yield daemon.client
        except (requests.RequestException, aria2p.ClientException) as error:
            why = error if daemon.alive() else "it was killed"
            raise UnreachableError(f"could not be fetched because aria2c failed ({why})") from error

    def _running(self) -> Daemon:
        with self._starting:
            if self._daemon is None or not self._daemon.alive():
                self._daemon = Daemon(self._volume.writer_folder, self._settings)
            return self._daemon

    def require_volume(self, reason: GaveUpError, path: Path) -> None:
        """Does nothing where a download to ``path`` ended for another reason than the volume.

        Raises:
            VolumeError: the volume is full or cannot be written.
        """
        if self.is_full(reason):
            raise self._volume.full()
        if reason.code in _FILE_TROUBLE or _FLUSH_WORDS in str(reason):
            raise VolumeError(
                f"{path} cannot be written ({reason}): check the volume, or choose another with --data-dir."
            )

    def is_full(self, reason: GaveUpError) -> bool:
        """Whether the volume is full. aria2 has a code for that, and several ways not to use it."""
        words = str(reason)
        if reason.code == _NO_SPACE or any(sign in words for sign in _NO_SPACE_WORDS):
            return True
        return _FLUSH_WORDS in words and not self._volume.has_room(_CACHE_BYTES)

"""Downloads with aria2c, our transport.

It is disposable: what is known of a download is in our own record; aria2 keeps the bytes and the control file
that says which pieces are there.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from entrypoint.prepare.transport.control import drop_control, keep_control
from entrypoint.prepare.transport.daemon import Daemon, end_leftover
from entrypoint.prepare.transport.pace import Crew
from entrypoint.prepare.transport.retry import StoppedError, UnreachableError
from entrypoint.volume import Volume
from libmoe.config.errors import VolumeError

if TYPE_CHECKING:
    import aria2p

_NO_SPACE = 9
_NO_SPACE_WORDS = ("No space left", "quota exceeded")
_FLUSH_WORDS = "cache flush failure"
_CACHE_BYTES = 64 << 20
_FILE_TROUBLE = (15, 16, 17, 18)
_CANNOT_CONTINUE = (8, 10)
_FIRST_POLL_SECONDS = 0.01
_POLL_SECONDS = 0.1
_LET_GO_SECONDS = 5.0
_OVER = ("complete", "error", "removed")
_FIELDS = ["status", "completedLength", "totalLength", "connections", "errorCode", "errorMessage"]


class _GaveUpError(Exception):
    """aria2's reason for giving a download up."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message or f"aria2 error {code}")
        self.code = code


class Aria2:
    """aria2c for as long as the context lasts; started with the first download."""

    def __init__(self, volume: Volume, user_agent: str, stop: threading.Event) -> None:
        """``stop``, once set, ends every download with `StoppedError`."""
        self._volume = volume
        self._user_agent = user_agent
        self._stop = stop
        self._starting = threading.Lock()
        self._daemon: Daemon | None = None
        self._allocation = "falloc"

    def __enter__(self) -> "Aria2":
        end_leftover(self._volume.desk)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._daemon is not None:
            self._daemon.stop()
            end_leftover(self._volume.desk)

    def download(
        self, location: str, path: Path, connections: int, progress: Callable[[int, int], None]
    ) -> None:
        """Fetches to ``path``, continuing what is there; returns when every byte is.

        Args:
            progress: called with bytes done and bytes in all (0: unknown); may raise to end it.

        Raises:
            UnreachableError: the connection failed; what came is kept.
            StoppedError: we were told to stop; what came is kept.
            VolumeError: the volume is full or cannot be written.
        """
        try:
            self._run(location, path, connections, progress)
        except _GaveUpError as reason:
            if "fallocate" not in str(reason) or self._full(reason) or self._allocation == "none":
                raise self._as_error(reason, path) from reason
            self._allocation = "none"  # a file system that cannot reserve space
            self._run(location, path, connections, progress)

    def _run(self, location: str, path: Path, connections: int, progress: Callable[[int, int], None]) -> None:
        import aria2p
        import requests

        options = {
            "dir": str(path.parent.absolute()),
            "out": path.name,
            "split": str(connections),
            "max-connection-per-server": str(connections),
            "file-allocation": self._allocation,
        }
        try:
            client = self._client()
            gid = client.add_uri([location], options)
            try:
                self._follow(client, gid, path, progress)
            finally:
                _end(client, gid)
        except (requests.RequestException, aria2p.ClientException) as error:
            raise UnreachableError(f"could not be fetched because aria2c failed ({error})") from error

    def _client(self) -> "aria2p.Client":
        with self._starting:
            if self._daemon is None or not self._daemon.alive():
                self._daemon = Daemon(self._volume.desk, self._user_agent)
            return self._daemon.client

    def _follow(
        self, client: "aria2p.Client", gid: str, path: Path, progress: Callable[[int, int], None]
    ) -> None:
        pause, crew = _FIRST_POLL_SECONDS, Crew()
        while True:
            told = client.tell_status(gid, _FIELDS)
            keep_control(path)
            done, total = int(told["completedLength"]), int(told["totalLength"])
            progress(done, total)
            if told["status"] == "complete":
                return
            if told["status"] in ("error", "removed"):
                raise _GaveUpError(int(told.get("errorCode", 1)), told.get("errorMessage", ""))
            crew.tell(int(told["connections"]), total - done)
            if self._stop.wait(pause):
                raise StoppedError
            pause = min(2 * pause, _POLL_SECONDS)

    def _full(self, reason: _GaveUpError) -> bool:
        """aria2 has a code for a full volume, and several ways not to use it."""
        words = str(reason)
        if reason.code == _NO_SPACE or any(sign in words for sign in _NO_SPACE_WORDS):
            return True
        return _FLUSH_WORDS in words and not self._volume.has_room(_CACHE_BYTES)

    def _as_error(self, reason: _GaveUpError, path: Path) -> Exception:
        if self._full(reason):
            return self._volume.full()
        if reason.code in _FILE_TROUBLE or _FLUSH_WORDS in str(reason):
            return VolumeError(
                f"{path} cannot be written ({reason}): check the volume, or choose another with --data-dir."
            )
        if reason.code in _CANNOT_CONTINUE:
            path.unlink(missing_ok=True)
            drop_control(path)
        dropped = "No URI available" in str(reason)  # aria2's words for a connection that ended too early
        return UnreachableError("dropped the connection" if dropped else f"failed ({reason})")


def _end(client: "aria2p.Client", gid: str) -> None:
    """Waits until aria2 has let go of the file, with what came so far, and forgets it."""
    import aria2p
    import requests

    with contextlib.suppress(aria2p.ClientException, requests.RequestException):
        if client.tell_status(gid, ["status"])["status"] not in _OVER:
            client.force_remove(gid)
            deadline = time.monotonic() + _LET_GO_SECONDS
            while client.tell_status(gid, ["status"])["status"] not in _OVER and time.monotonic() < deadline:
                time.sleep(_FIRST_POLL_SECONDS)
        client.remove_download_result(gid)

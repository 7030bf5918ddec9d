"""Downloads large files with aria2c, several connections each.

aria2c is disposable: what is known of a download is in our own record; aria2 keeps the bytes and the control
file that says which pieces are there.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from entrypoint.prepare.transport.control import drop_control, keep_control
from entrypoint.prepare.transport.pace import Connections
from entrypoint.prepare.transport.retry import StoppedError, UnreachableError
from entrypoint.prepare.transport.session import GaveUpError, Session
from entrypoint.volume import Volume

if TYPE_CHECKING:
    import aria2p

_CANNOT_CONTINUE = (8, 10)
_FIRST_POLL_SECONDS = 0.01
_POLL_SECONDS = 0.1
_LET_GO_SECONDS = 5.0
_OVER = ("complete", "error", "removed")
_FIELDS = ["status", "completedLength", "totalLength", "connections", "errorCode", "errorMessage"]


class Aria2:
    """Downloads for as long as the context lasts."""

    def __init__(self, volume: Volume, stop: threading.Event) -> None:
        """``stop``, once set, ends every download with `StoppedError`."""
        self._session = Session(volume)
        self._stop = stop
        self._allocation = "falloc"

    def __enter__(self) -> "Aria2":
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

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
        except GaveUpError as reason:
            if "fallocate" not in str(reason) or self._session.is_full(reason) or self._allocation == "none":
                raise self._as_error(reason, path) from reason
            self._allocation = "none"  # a file system that cannot reserve space
            self._run(location, path, connections, progress)

    def _run(self, location: str, path: Path, connections: int, progress: Callable[[int, int], None]) -> None:
        options = {
            "dir": str(path.parent.absolute()),
            "out": path.name,
            "split": str(connections),
            "max-connection-per-server": str(connections),
            "file-allocation": self._allocation,
        }
        with self._session.client() as client:
            gid = client.add_uri([location], options)
            try:
                self._follow(client, gid, path, progress)
            finally:
                _end(client, gid)

    def _follow(
        self, client: "aria2p.Client", gid: str, path: Path, progress: Callable[[int, int], None]
    ) -> None:
        pause, served = _FIRST_POLL_SECONDS, Connections()
        while True:
            told = client.tell_status(gid, _FIELDS)
            keep_control(path)
            done, total = int(told["completedLength"]), int(told["totalLength"])
            progress(done, total)
            if told["status"] == "complete":
                return
            if told["status"] in ("error", "removed"):
                raise GaveUpError.of(told)
            served.tell(int(told["connections"]), total - done)
            if self._stop.wait(pause):
                raise StoppedError
            pause = min(2 * pause, _POLL_SECONDS)

    def _as_error(self, reason: GaveUpError, path: Path) -> UnreachableError:
        self._session.require_volume(reason, path)
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

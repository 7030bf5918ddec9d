"""Fetches small files by the thousand: many at once, one connection each; what cannot be had is told."""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from entrypoint.prepare.transport.control import control_path
from entrypoint.prepare.transport.daemon import Daemon, end_leftover
from entrypoint.prepare.transport.tool import TOOL
from entrypoint.volume import Volume
from libmoe.config.errors import VolumeError

if TYPE_CHECKING:
    import aria2p

AT_ONCE = 32
_BATCH = 500
"""aria2 remembers 1000 results."""
_LOOK_SECONDS = 0.1
_FIELDS = ["gid", "status", "errorCode", "errorMessage"]
_NO_SPACE = "9"
_NOT_FOUND = "3"
_GONE = re.compile(r"status=(400|401|403|404|410|451)\b")


class ManyFiles:
    """aria2c with settings for small files, for as long as the context lasts."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._daemon: Daemon | None = None

    def __enter__(self) -> "ManyFiles":
        end_leftover(self._volume.desk)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._daemon is not None:
            self._daemon.stop()
            end_leftover(self._volume.desk)

    def fetch(
        self, folder: Path, files: Mapping[str, str], progress: Callable[[int], None]
    ) -> Iterator[tuple[str, str]]:
        """Fetches each file to ``folder/NAME``; its name and the reason why it is not there, or nothing.

        A reason that starts with ``gone`` is for good.

        Args:
            files: name to address.
            progress: called with the number of files that were tried.

        Raises:
            VolumeError: the volume is full.
        """
        tried = 0
        for names in _batches(list(files)):
            near = [name for name in names if files[name].startswith("file:")]
            far = [name for name in names if name not in set(near)]
            outcome = {name: _copy(files[name], folder / name) for name in near}
            if far:
                outcome |= self._fetch(folder, {name: files[name] for name in far})
            yield from outcome.items()
            tried += len(names)
            progress(tried)

    def _fetch(self, folder: Path, files: Mapping[str, str]) -> dict[str, str]:
        client = self._client()
        calls = [
            (client.ADD_URI, [[address], {"dir": str(folder.absolute()), "out": name}], name)
            for name, address in files.items()
        ]
        gids = dict(zip(client.batch_call(calls), files, strict=True))
        outcome: dict[str, str] = {}
        while len(outcome) < len(gids):
            time.sleep(_LOOK_SECONDS)
            stopped = client.tell_stopped(0, 2 * _BATCH, _FIELDS)
            outcome = {gids[told["gid"]]: self._reason(told) for told in stopped if told["gid"] in gids}
        client.purge_download_result()
        for name in files:
            control_path(folder / name).unlink(missing_ok=True)
        return outcome

    def _reason(self, told: Mapping[str, str]) -> str:
        if told["status"] == "complete":
            return ""
        code, message = told.get("errorCode", ""), told.get("errorMessage", "")
        if code == _NO_SPACE:
            raise self._volume.full()
        gone = code == _NOT_FOUND or _GONE.search(message)
        return f"gone ({message or 'not found'})" if gone else message or f"aria2 error {code}"

    def _client(self) -> "aria2p.Client":
        if self._daemon is None:
            self._daemon = Daemon(self._volume.desk, TOOL)
            self._daemon.client.change_global_option(
                {
                    "max-concurrent-downloads": str(AT_ONCE),
                    "split": "1",
                    "max-connection-per-server": "1",
                    "file-allocation": "none",
                    "timeout": "20",
                    "max-tries": "2",
                }
            )
        return self._daemon.client


def _copy(address: str, target: Path) -> str:
    try:
        shutil.copyfile(unquote(urlsplit(address).path), target)
    except FileNotFoundError:
        return "gone (not found)"
    except OSError as error:
        raise VolumeError(f"{target} cannot be written ({error.strerror}).") from error
    return ""


def _batches(names: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(names)
    while batch := list(islice(remaining, _BATCH)):
        yield batch

"""Fetches small files by the thousand: many at once, one connection each; what does not come is reported."""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from entrypoint.prepare.options import PICTURES_AT_ONCE
from entrypoint.prepare.transport.addresses import on_the_web
from entrypoint.prepare.transport.control import drop_control
from entrypoint.prepare.transport.retry import Patience, Retry, UnreachableError
from entrypoint.prepare.transport.session import GaveUpError, Session
from entrypoint.volume import Volume
from libmoe.config.errors import VolumeError

if TYPE_CHECKING:
    import aria2p

_BATCH = 500
"""aria2 remembers 1000 results."""
_LOOK_SECONDS = 0.1
_FIELDS = ["gid", "status", "errorCode", "errorMessage"]
_SETTINGS = {
    "max-concurrent-downloads": str(PICTURES_AT_ONCE),
    "split": "1",
    "max-connection-per-server": "1",
    "file-allocation": "none",
    "timeout": "20",
    "max-tries": "2",
}
_NOT_FOUND = 3
_GONE = re.compile(r"status=(400|401|403|404|410|451)\b")


@dataclass(frozen=True)
class Miss:
    """A file that did not come."""

    name: str
    reason: str
    for_good: bool
    """Whether asking again would be of no use."""


class ManyFiles:
    """Downloads for as long as the context lasts."""

    def __init__(self, volume: Volume, retry: Retry, wait: Callable[[UnreachableError, float], None]) -> None:
        """``retry``: where aria2c fails, not a file; ``wait`` is told why and for how many seconds."""
        self._session = Session(volume, _SETTINGS)
        self._retry = retry
        self._wait = wait

    def __enter__(self) -> "ManyFiles":
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

    def fetch(
        self, folder: Path, files: Mapping[str, str], progress: Callable[[int], None]
    ) -> Iterator[str | Miss]:
        """Fetches each file to ``folder/NAME``; the names of those that came, a `Miss` for each other.

        Args:
            files: name to address.
            progress: called with the number of files that were tried.

        Raises:
            VolumeError: the volume is full or cannot be written.
            RefusedError: aria2c fails again and again.
        """
        tried = 0
        for names in _batches(list(files)):
            outcome: dict[str, Miss | None] = {}
            for name in names:
                if files[name].startswith("file:"):
                    outcome[name] = _copy(name, files[name], folder / name)
                elif not on_the_web(files[name]):  # aria2 would refuse all that are asked for with it
                    outcome[name] = Miss(name, "not an address on the web", for_good=True)
            self._download(folder, {name: files[name] for name in names if name not in outcome}, outcome)
            yield from (outcome[name] or name for name in names)
            tried += len(names)
            progress(tried)

    def _download(self, folder: Path, files: Mapping[str, str], outcome: dict[str, Miss | None]) -> None:
        """Adds to ``outcome`` what came of each file, however often aria2c has to be started for that."""
        patience = Patience(self._retry)
        while left := {name: address for name, address in files.items() if name not in outcome}:
            known = len(outcome)
            try:
                with self._session.client() as client:
                    self._ask(client, folder, left, outcome)
            except UnreachableError as error:
                if len(outcome) > known:
                    patience.reset()
                seconds = patience.wait(error)
                self._wait(error, seconds)
                time.sleep(seconds)
                self._session.stop()  # what it may still be doing would be in the way of the next

    def _ask(
        self, client: "aria2p.Client", folder: Path, files: Mapping[str, str], outcome: dict[str, Miss | None]
    ) -> None:
        for name in files:
            _drop(folder / name)
        calls = [
            (client.ADD_URI, [[address], {"dir": str(folder.absolute()), "out": name}], name)
            for name, address in files.items()
        ]
        gids = dict(zip(client.batch_call(calls), files, strict=True))
        while gids:
            time.sleep(_LOOK_SECONDS)
            counts = client.get_global_stat()
            for told in client.tell_stopped(0, 2 * _BATCH, _FIELDS):
                if name := gids.pop(told["gid"], ""):
                    outcome[name] = self._judge(told, folder / name)
            if gids and counts["numActive"] == counts["numWaiting"] == "0":
                raise UnreachableError("could not be fetched because aria2c forgot what came of them")
        client.purge_download_result()
        for name in files:
            drop_control(folder / name)

    def _judge(self, told: Mapping[str, str], path: Path) -> Miss | None:
        if told["status"] == "complete":
            return None
        reason = GaveUpError.of(told)
        self._session.require_volume(reason, path)
        gone = reason.code == _NOT_FOUND or _GONE.search(str(reason))
        return Miss(path.name, str(reason), for_good=bool(gone))


def _copy(name: str, address: str, target: Path) -> Miss | None:
    try:
        shutil.copyfile(unquote(urlsplit(address).path), target)
    except FileNotFoundError:
        return Miss(name, "not found", for_good=True)
    except OSError as error:
        raise VolumeError(f"{target} cannot be written ({error.strerror}).") from error
    return None


def _drop(path: Path) -> None:
    """Removes what an aria2c that died had begun."""
    path.unlink(missing_ok=True)
    drop_control(path)


def _batches(names: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(names)
    while batch := list(islice(remaining, _BATCH)):
        yield batch

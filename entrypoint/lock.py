"""One writer at a time in a folder, also where `flock` is not honoured (network and FUSE file systems).

The lock is the file ``lock-<n>`` of the highest n. Whoever wants it links a complete file to ``lock-<n+1>``,
which only one can; a released or dead holder's file is never reused, so nobody can take a lock that somebody
else has just taken over.
"""

import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from entrypoint.process_id import ProcessId
from libmoe.config.errors import TryAgainError

HEARTBEAT_SECONDS = 5.0
LOOK_SECONDS = 0.5
"""How often whoever waits for the lock looks, in seconds."""
SILENCE_SECONDS = 60.0
"""A holder elsewhere whose file was not touched for this long is watched; if it stays silent, taken over."""


@dataclass(frozen=True)
class Holder:
    """Who has the lock; ``released`` once it is given back."""

    process: ProcessId
    since: str
    token: str
    released: bool = False

    @classmethod
    def me(cls) -> "Holder":
        """This process, from now on."""
        return cls(ProcessId.me(), datetime.now(UTC).isoformat(timespec="seconds"), uuid.uuid4().hex)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Holder":
        """The inverse of `asdict`."""
        return cls(**{**fields, "process": ProcessId(**fields["process"])})


class _HeldError(Exception):
    """Somebody else has the lock; the message says who."""


class WriterLock:
    """The right to write below a folder; use as a context manager."""

    def __init__(self, folder: Path, holds: str, wait: Callable[[str], None] | None = None) -> None:
        """The lock of a folder, which is made if it is missing; ``holds`` says what it is about.

        With ``wait``, taking it waits until it is free, and says who has it each time that changes.
        """
        self._folder = folder
        self._holds = holds
        self._wait = wait
        self._me = Holder.me()
        self._path: Path | None = None
        self._stop = threading.Event()
        self._lost = False

    def __enter__(self) -> "WriterLock":
        """Takes the lock.

        Raises:
            TryAgainError: somebody else has it, and we do not wait; says who, where and since when.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        mine = self._write(self._me)
        told = ""
        try:
            while self._path is None:
                try:
                    self._path = self._try(mine)
                except FileNotFoundError:  # the holder changed while we looked
                    continue
                except _HeldError as held:
                    if self._wait is None:
                        raise TryAgainError(
                            f"{held}: wait for it to end or stop it, then run the same command again."
                        ) from held
                    if str(held) != told:
                        told = str(held)
                        self._wait(f"{told}; waiting until it has ended")
                    time.sleep(LOOK_SECONDS)
        finally:
            mine.unlink(missing_ok=True)
        threading.Thread(target=self._beat, name="lock heartbeat", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Gives it back.

        Raises:
            TryAgainError: it was taken from us, because we showed no sign of life for too long.
        """
        self._stop.set()
        assert self._path is not None
        if self._lost:
            raise TryAgainError(
                f"{self._holds} was taken over by another process while this one was silent: "
                "run the same command again once that one has ended."
            )
        try:
            self._write(Holder(**{**vars(self._me), "released": True})).replace(self._path)
        except OSError:  # a full volume: an empty file is nobody's either, and takes no space
            os.truncate(self._path, 0)

    def _try(self, mine: Path) -> Path | None:
        """One attempt: the lock's file if it is ours now, None if the state changed meanwhile."""
        number, holder = self._latest()
        if holder is not None and not holder.released and self._alive(number, holder):
            process = holder.process
            raise _HeldError(
                f"{self._holds} is in use by process {process.pid} on {process.host} since {holder.since}"
            )
        path = self._file(number + 1)
        if not _link(mine, path):
            return None
        latest, _ = self._latest()
        if latest != number + 1:
            path.unlink()
            return None
        for older, _ in self._numbered():
            if older <= number:
                self._file(older).unlink(missing_ok=True)
        return path

    def _latest(self) -> tuple[int, Holder | None]:
        numbered = sorted(self._numbered())
        if not numbered:
            return 0, None
        number, path = numbered[-1]
        return number, _read(path)

    def _alive(self, number: int, holder: Holder) -> bool:
        known = holder.process.alive()
        if known is not None:
            return known
        now = self._write(self._me)
        try:
            silence = now.stat().st_mtime - self._file(number).stat().st_mtime
        finally:
            now.unlink()
        return abs(silence) < SILENCE_SECONDS or self._beats(number)

    def _beats(self, number: int) -> bool:
        """Watches a holder that seems dead, so that a clock that jumped does not kill a living one."""
        seen = self._file(number).stat().st_mtime_ns
        time.sleep(2.5 * HEARTBEAT_SECONDS)
        return not self._file(number).exists() or self._file(number).stat().st_mtime_ns != seen

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                os.utime(self._file(self._number()))
            except FileNotFoundError:
                if not self._stop.is_set():
                    self._give_way()
                return
            except OSError:  # a file system that hiccups
                continue

    def _give_way(self) -> None:
        """Whoever took the lock writes now: we must not, so whatever we do is interrupted."""
        self._lost = True
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, signal.SIGINT)

    def _number(self) -> int:
        assert self._path is not None
        return int(self._path.name.removeprefix("lock-"))

    def _numbered(self) -> Iterator[tuple[int, Path]]:
        for path in self._folder.glob("lock-*"):
            yield int(path.name.removeprefix("lock-")), path

    def _file(self, number: int) -> Path:
        return self._folder / f"lock-{number}"

    def _write(self, holder: Holder) -> Path:
        path = self._folder / f".{uuid.uuid4().hex}"
        try:
            path.write_text(json.dumps(asdict(holder)))
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path


def _read(path: Path) -> Holder | None:
    """Who wrote a lock's file; None where it stays empty: its writer died (see `_create`) or let go."""
    for _ in range(40):
        content = path.read_text()
        if content:
            return Holder.from_json(json.loads(content))
        time.sleep(0.05)
    return None


def _link(source: Path, target: Path) -> bool:
    """Makes target exist with source's content, atomically; False where it exists already."""
    try:
        os.link(source, target)
    except FileExistsError:
        return target.samefile(source)  # a network file system may have made it and lost the answer
    except OSError:
        return _create(source, target)
    return True


def _create(source: Path, target: Path) -> bool:
    """For file systems without hard links: the exclusive creation is what decides."""
    content = source.read_text()
    try:
        with target.open("x") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True

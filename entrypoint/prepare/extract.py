"""Unpacks an archive with several processes: a member is written aside, checked, then renamed into place.

A file under its final name is therefore whole, and an unpacking that was killed goes on with what is missing.
"""

import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from entrypoint.prepare.archive import Member, read_chunks

_BATCH_BYTES = 16 << 20
_BATCH_MEMBERS = 512
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Unpacking:
    """Where an archive is, where its files go, and where they are written before that."""

    archive: Path
    destination: Path
    aside: Path

    def run(self, members: Sequence[Member], jobs: int, progress: Callable[[int], None]) -> None:
        """Unpacks the members.

        Args:
            progress: called with the bytes that were unpacked since the last call.

        Raises:
            BadArchiveError: a member is damaged or not what the archive promises.
            OSError: the volume is full or cannot be written.
        """
        self._clear()
        self.aside.mkdir(parents=True)
        batches = list(_batches(members))
        workers = min(jobs, len(batches))
        if workers <= 1:
            for batch in batches:
                progress(self.unpack(batch))
        else:
            self._spread(batches, workers, progress)
        self._clear()

    def unpack(self, members: Sequence[Member]) -> int:
        """One process's share; the bytes in it."""
        known_folders: set[Path] = set()
        with self.archive.open("rb") as file:
            for number, member in enumerate(members):
                target = self.destination / member.target
                if target.parent not in known_folders:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    known_folders.add(target.parent)
                if _is_whole(target, member):
                    continue
                aside = self.aside / f"{os.getpid()}-{number}"
                with aside.open("wb") as out:
                    for chunk in read_chunks(file, member):
                        out.write(chunk)
                aside.replace(target)
        return sum(member.size for member in members)

    def _spread(
        self, batches: Sequence[Sequence[Member]], workers: int, progress: Callable[[int], None]
    ) -> None:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
            try:
                for done in as_completed([pool.submit(self.unpack, batch) for batch in batches]):
                    progress(done.result())
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _clear(self) -> None:
        if self.aside.exists():
            rmtree(self.aside)


def _batches(members: Iterable[Member]) -> Iterator[list[Member]]:
    """Neighbours in the archive together, in shares that keep every process busy."""
    batch: list[Member] = []
    size = 0
    for member in members:
        batch.append(member)
        size += member.size
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_MEMBERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _is_whole(target: Path, member: Member) -> bool:
    try:
        if target.stat().st_size != member.size:
            return False
    except FileNotFoundError:
        return False
    return crc_of(target) == member.crc


def crc_of(path: Path) -> int:
    """The CRC-32 of a file."""
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def _start_worker() -> None:
    """Ctrl-C is for the parent; and a worker does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

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
from typing import BinaryIO

from entrypoint.prepare.unpack.archive import Member, read_chunks
from entrypoint.prepare.unpack.joined import open_joined
from entrypoint.prepare.unpack.repair import HEAD_BYTES, as_jpeg, head_of, misnamed

_BATCH_BYTES = 16 << 20
_BATCH_MEMBERS = 512
_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class Repaired:
    """A member whose file is not what the archive holds, because it was no JPEG and is called one."""

    target: str
    was: str
    """The format it had."""
    size: int
    crc: int


@dataclass(frozen=True)
class Unpacking:
    """Where an archive (or its parts) is, where its files go, and where they are written before that."""

    archive: tuple[Path, ...]
    destination: Path
    aside: Path

    def run(self, members: Sequence[Member], jobs: int, progress: Callable[[int], None]) -> list[Repaired]:
        """Unpacks the members; those that had to be repaired.

        Args:
            progress: called with the bytes that were unpacked since the last call; may raise to stop.

        Raises:
            BadArchiveError: a member is damaged or not what the archive promises.
            OSError: the volume is full or cannot be written.
        """
        self._clear()
        self.aside.mkdir(parents=True)
        batches = list(_batches(members))
        workers = min(jobs, len(batches))
        repaired: list[Repaired] = []

        def take(share: tuple[int, list[Repaired]]) -> None:
            repaired.extend(share[1])
            progress(share[0])

        if workers > 1:
            self._spread(batches, workers, take)
        else:
            for batch in batches:
                take(self.unpack(batch))
        self._clear()
        return sorted(repaired, key=lambda one: one.target)

    def unpack(self, members: Sequence[Member]) -> tuple[int, list[Repaired]]:
        """One process's share: the bytes in it, and what was repaired."""
        known_folders: set[Path] = set()
        repaired: list[Repaired] = []
        with open_joined(self.archive) as file:
            for number, member in enumerate(members):
                target = self.destination / member.target
                if target.parent not in known_folders:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    known_folders.add(target.parent)
                if not _is_whole(target, member):
                    aside = self.aside / f"{os.getpid()}-{number}"
                    if mended := _write(file, member, target, aside):
                        repaired.append(mended)
        return sum(member.size for member in members), repaired

    def _spread(
        self,
        batches: Sequence[Sequence[Member]],
        workers: int,
        take: Callable[[tuple[int, list[Repaired]]], None],
    ) -> None:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
            try:
                for done in as_completed([pool.submit(self.unpack, batch) for batch in batches]):
                    take(done.result())
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


def _write(file: BinaryIO, member: Member, target: Path, aside: Path) -> Repaired | None:
    head = b""
    with aside.open("wb") as out:
        for chunk in read_chunks(file, member):
            head = head or chunk[:HEAD_BYTES]
            out.write(chunk)
    mended = None
    was = misnamed(member.target, head)
    if was and (jpeg := as_jpeg(aside)):
        aside.write_bytes(jpeg)
        mended = Repaired(member.target, was, len(jpeg), zlib.crc32(jpeg))
    aside.replace(target)
    return mended


def _is_whole(target: Path, member: Member) -> bool:
    """Whether the member is in place already, and needs no repair."""
    try:
        if target.stat().st_size != member.size:
            return False
    except FileNotFoundError:
        return False
    return crc_of(target) == member.crc and not misnamed(member.target, head_of(target))


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

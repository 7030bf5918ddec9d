"""Unpacks an archive with several processes: a member is written aside, checked, then renamed into place.

A file under its final name is therefore whole, and an unpacking that was killed goes on with what is missing.
Processes, because threads would wait for the interpreter after each call that lets the other run.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import deflate

from entrypoint.digests import crc_of
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.unpack.archive import Member
from entrypoint.prepare.unpack.content import read_pieces
from entrypoint.prepare.unpack.joined import Joined
from entrypoint.prepare.unpack.repair import HEAD_BYTES, as_jpeg, head_of, misnamed
from entrypoint.prepare.workers import map_unordered

_BATCH_BYTES = 16 << 20
_BATCH_MEMBERS = 512
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Repaired:
    """A member whose file is not what the archive holds, because it is called a JPEG and was not one."""

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
            TryAgainError: somebody killed a process of ours.
            OSError: the volume is full or cannot be written.
        """
        self._clear()
        self.aside.mkdir(parents=True)
        here = Listing(self.destination)
        for folder in {member.target.rpartition("/")[0] for member in members}:
            self.destination.joinpath(folder).mkdir(parents=True, exist_ok=True)
        batches = list(_batches(members))
        repaired: list[Repaired] = []
        shares = ((batch, [here.has(member.target) for member in batch]) for batch in batches)
        with closing(map_unordered(min(jobs, len(batches)), self._unpack, shares)) as done:
            for size, mended in done:
                repaired.extend(mended)
                progress(size)
        self._clear()
        return sorted(repaired, key=lambda one: one.target)

    def _unpack(self, share: tuple[Sequence[Member], Sequence[bool]]) -> tuple[int, list[Repaired]]:
        """One share, members and whether there is a file of that name: its bytes, and what was repaired."""
        members, present = share
        repaired: list[Repaired] = []
        aside = f"{self.aside}/{os.getpid()}"
        with Joined(self.archive) as archive:
            for member, is_present in zip(members, present, strict=True):
                target = f"{self.destination}/{member.target}"
                if is_present and _is_whole(Path(target), member):
                    continue
                head = _write(archive, member, aside)
                if (was := misnamed(member.target, head)) and (jpeg := as_jpeg(Path(aside))):
                    Path(aside).write_bytes(jpeg)
                    repaired.append(Repaired(member.target, was, len(jpeg), deflate.crc32(jpeg)))
                os.replace(aside, target)  # noqa: PTH105 - a Path a member would cost as much again
        return sum(member.size for member in members), repaired

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


def _write(archive: Joined, member: Member, path: str) -> bytes:
    """Writes a member's bytes; the first of them."""
    head = b""
    file = os.open(path, _NEW, 0o666)
    try:
        for piece in read_pieces(archive, member):
            head = head or bytes(piece[:HEAD_BYTES])
            left = memoryview(piece)
            while left:
                left = left[os.write(file, left) :]
    finally:
        os.close(file)
    return head


def _is_whole(target: Path, member: Member) -> bool:
    """Whether the member is in place already, and needs no repair."""
    try:
        if target.stat().st_size != member.size:
            return False
    except FileNotFoundError:
        return False
    return crc_of(target) == member.crc and not misnamed(member.target, head_of(target))

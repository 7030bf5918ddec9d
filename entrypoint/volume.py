"""The data volume: its receipts, its room and its lock."""

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from entrypoint.lock import WriterLock
from entrypoint.receipt import Receipt
from entrypoint.shard import Shard
from entrypoint.volume_failures import explain, full
from entrypoint.volume_paths import VolumePaths
from libmoe.config.errors import VolumeError
from libmoe.config.whole_files import write_whole

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")


def default_data_dir() -> Path:
    """``$TOOLKIT_DIR/data`` where the guide's variable is set, else ``/data``."""
    toolkit = os.environ.get("TOOLKIT_DIR")
    return Path(toolkit) / "data" if toolkit else Path("/data")


@dataclass(frozen=True)
class Volume(VolumePaths):
    """A data volume: what is on it, whether there is room, the right to write."""

    def shares(self) -> list["Volume"]:
        """The volume as each share sees it that has ever worked here."""
        names = sorted(path.name for path in self._writer_folders.glob("*"))
        return [replace(self, share=share) for name in names if (share := Shard.named(name))]

    def receipt(self, name: str) -> Receipt | None:
        """An artifact's receipt; None where it is not whole yet. One that is damaged is as good as none."""
        try:
            return Receipt(**json.loads(self.receipt_path(name).read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def receipts(self) -> dict[str, str]:
        """The sha256 of every artifact that is whole, by name."""
        names = sorted(path.stem for path in self._receipts.glob("*.json"))
        return {name: receipt.sha256 for name in names if (receipt := self.receipt(name))}

    def write_receipt(self, receipt: Receipt) -> None:
        """Says that an artifact is whole."""
        write_json(self.receipt_path(receipt.name), asdict(receipt))

    def free_bytes(self) -> int | None:
        """What can be written, also before the folder exists; None where the file system does not say."""
        usage = shutil.disk_usage(self._nearest())
        return usage.free if usage.total else None

    def _nearest(self) -> Path:
        """The folder itself, or the nearest above it that exists."""
        place = self.root.absolute()
        while not place.is_dir():
            place = place.parent
        return place

    def has_room(self, size: int) -> bool:
        """Whether this many bytes can be written, as far as the file system says."""
        free = self.free_bytes()
        return free is None or size <= free

    def free_inodes(self) -> int | None:
        """Files that can still be made; None where the file system has no such limit or does not say."""
        status = os.statvfs(self._nearest())
        return status.f_favail if status.f_files else None

    def has_inodes(self, count: int) -> bool:
        """Whether this many files can be made, as far as the file system says."""
        free = self.free_inodes()
        return free is None or count <= free

    def tells_case(self) -> bool:
        """Whether two names that differ only in case are two files here, found by trying."""
        probe = self.hidden / f".probe.{uuid.uuid4().hex[:-1]}a"
        probe.touch()
        try:
            return not probe.with_name(probe.name[:-1] + "A").exists()
        finally:
            probe.unlink()

    def check(self) -> None:
        """Makes the folder if its parent exists, and tries to write in it.

        Raises:
            VolumeError: says what is in the way.
        """
        parent = self.root.absolute().parent
        if not self.root.is_dir() and not parent.is_dir():
            raise VolumeError(
                f"The data directory {self.root} cannot be made because {parent} is not a folder: "
                "create it or mount the volume there, or choose another with --data-dir."
            )
        with self.guard():
            self._make()
            self.hidden.mkdir(exist_ok=True)
            probe = self.hidden / f".probe.{uuid.uuid4().hex}"
            probe.write_bytes(b"writable")
            probe.unlink(missing_ok=True)  # whoever has the lock may have swept it away

    def _make(self) -> None:
        try:
            self.root.mkdir(exist_ok=True)
        except FileNotFoundError as error:  # as below /proc
            raise VolumeError(
                f"{self.root} cannot be made there: choose another place with --data-dir."
            ) from error

    def require(self) -> None:
        """For commands that only read.

        Raises:
            VolumeError: there is no such folder.
        """
        if not self.root.is_dir():
            raise VolumeError(
                f"There is no data directory {self.root}: fill it with `libmoe prepare`, "
                "or name another with --data-dir."
            )

    def sweep(self) -> None:
        """Removes what killed writers had begun to write; only the one writer there is may do that."""
        for path in self.hidden.rglob(".*"):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def lock(self, wait: Callable[[str], None] | None = None) -> WriterLock:
        """The right to write on the volume; with ``wait``, which is told who has it, once it is free."""
        what = f"Share {self.share.name} of the volume" if self.share else "The volume"
        return WriterLock(self.writer_folder / "lock", f"{what} {self.root}", wait)

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Turns the ways in which writing fails into one clear sentence.

        Raises:
            VolumeError: full, read-only, not permitted, failing, or no place for a folder.
        """
        try:
            yield
        except OSError as error:
            if explained := explain(error, self.root):
                raise explained from error
            raise

    def full(self) -> VolumeError:
        """The error of a volume without space left."""
        return full(self.root)


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all, in a folder that is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def write_json(path: Path, value: Any) -> None:
    """The same for a value as JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")

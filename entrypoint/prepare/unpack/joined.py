"""Files read as the one they were cut from; the joined copy is never written."""

import bisect
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast


def open_joined(paths: Sequence[Path]) -> BinaryIO:
    """The contents of the files, one after the other, as one that can be read anywhere."""
    if len(paths) == 1:
        return paths[0].open("rb")
    return cast(BinaryIO, io.BufferedReader(Joined(paths), buffer_size=1 << 16))


def joined_size(paths: Sequence[Path]) -> int:
    """Bytes of all of them."""
    return sum(path.stat().st_size for path in paths)


class Joined(io.RawIOBase):
    """Positions run through all files; a read ends at the end of a file at the latest."""

    def __init__(self, paths: Sequence[Path]) -> None:
        sizes = [path.stat().st_size for path in paths]
        self._starts = list(itertools.accumulate(sizes, initial=0))
        self._files = [path.open("rb", buffering=0) for path in paths]
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position, from the start of the first file."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves; as with any file, one may stand beyond the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fills the buffer as far as the file at this position goes."""
        if self._at >= self._starts[-1]:
            return 0
        number = bisect.bisect_right(self._starts, self._at) - 1
        file, left = self._files[number], self._starts[number + 1] - self._at
        file.seek(self._at - self._starts[number])
        count: int = file.readinto(memoryview(buffer)[:left]) or 0
        self._at += count
        return count

    def close(self) -> None:
        """Closes all files."""
        if not self.closed:
            for file in self._files:
                file.close()
        super().close()

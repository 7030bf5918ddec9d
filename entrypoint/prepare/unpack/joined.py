"""Files read as the one they were cut from; the joined copy is never written."""

import bisect
import io
import itertools
import os
from collections.abc import Sequence
from pathlib import Path


class Joined(io.RawIOBase):
    """The contents of the files, one after the other, as one that can be read anywhere."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb", buffering=0) for path in paths]
        sizes = [os.fstat(file.fileno()).st_size for file in self._files]
        self._starts = list(itertools.accumulate(sizes, initial=0))
        self._at = 0

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return self._starts[-1]

    def read_at(self, offset: int, size: int) -> bytes:
        """The bytes from there on, as many as there are; moves nothing, so that threads can share one."""
        pieces = []
        while size > 0 and offset < self.size:
            piece = self._piece(offset, size)
            if not piece:
                break
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, offset: int, size: int) -> bytes:
        """Ends at the end of a file at the latest."""
        number = bisect.bisect_right(self._starts, offset) - 1
        left = self._starts[number + 1] - offset
        return os.pread(self._files[number].fileno(), min(size, left), offset - self._starts[number])

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
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fills the buffer as far as there is something."""
        found = self.read_at(self._at, len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def close(self) -> None:
        """Closes all files."""
        if not self.closed:
            for file in self._files:
                file.close()
        super().close()

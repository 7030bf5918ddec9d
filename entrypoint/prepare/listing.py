"""What files there are, by looking into each folder once instead of asking for each file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


class Listing:
    """Folders of the volume as they are now; each is read when it is first asked for, and then remembered."""

    def __init__(self, root: Path) -> None:
        """Paths are relative to ``root``."""
        self._root = str(root)
        self._here: dict[str, list[str]] = {}
        self._sets: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        """Whether there is an entry of that name."""
        folder = path.rpartition("/")[0]
        if folder not in self._sets:
            self._sets[folder] = frozenset(self._look_into(folder))
        return path in self._sets[folder]

    def missing(self, paths: Sequence[str]) -> list[str]:
        """Those of the paths that are not there."""
        return [path for path in paths if not self.has(path)]

    def missing_of(self, paths: "pa.ChunkedArray") -> list[str]:
        """The same for hundreds of thousands."""
        import pyarrow as pa
        import pyarrow.compute as pc

        folders: list[str] = pc.unique(_folders(paths)).to_pylist()
        here = pa.array([path for folder in folders for path in self._look_into(folder)], pa.string())
        missing: list[str] = paths.filter(pc.invert(pc.is_in(paths, here))).to_pylist()
        return missing

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none."""
        try:
            return os.stat(f"{self._root}/{path}").st_size  # noqa: PTH116 - a Path each would cost as much again
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _look_into(self, folder: str) -> list[str]:
        """Paths of its entries, in the order the file system has them: hashing all takes as long again."""
        if folder not in self._here:
            try:
                names = os.listdir(f"{self._root}/{folder}")  # noqa: PTH208
            except (FileNotFoundError, NotADirectoryError):
                names = []
            before = f"{folder}/" if folder else ""
            self._here[folder] = [before + name for name in names]
        return self._here[folder]


def _folders(paths: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Of each path; of one without any, the empty name."""
    import pyarrow.compute as pc

    halves = pc.split_pattern(paths, "/", max_splits=1, reverse=True)
    return pc.if_else(pc.equal(pc.list_value_length(halves), 2), pc.list_element(halves, 0), "")

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
        self._here: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        """Whether there is an entry of that name."""
        folder = path.rpartition("/")[0]
        if folder not in self._here:
            self._look_into(folder)
        return path in self._here[folder]

    def missing(self, paths: Sequence[str]) -> list[str]:
        """Those of the paths that are not there."""
        return [path for path in paths if not self.has(path)]

    def missing_of(self, paths: "pa.ChunkedArray") -> list[str]:
        """The same for hundreds of thousands."""
        import pyarrow as pa
        import pyarrow.compute as pc

        folders: list[str] = pc.unique(pc.replace_substring_regex(paths, "(^|/)[^/]*$", "")).to_pylist()
        for folder in folders:
            if folder not in self._here:
                self._look_into(folder)
        here = pa.array([path for folder in folders for path in self._here[folder]], pa.string())
        missing: list[str] = paths.filter(pc.invert(pc.is_in(paths, here))).to_pylist()
        return missing

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none."""
        try:
            return os.stat(f"{self._root}/{path}").st_size  # noqa: PTH116 - a Path each would cost as much again
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _look_into(self, folder: str) -> None:
        try:
            names = os.listdir(f"{self._root}/{folder}")  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            names = []
        before = f"{folder}/" if folder else ""
        self._here[folder] = frozenset([before + name for name in names])

"""What files there are, by looking into each folder once instead of asking for each file."""

import os
from collections.abc import Sequence
from pathlib import Path


class Listing:
    """Folders of the volume as they are now; each is read when it is first asked for, and then remembered."""

    def __init__(self, root: Path) -> None:
        """Paths are relative to ``root``."""
        self._root = root
        self._folders: dict[str, dict[str, os.DirEntry[str]]] = {}

    def has(self, path: str) -> bool:
        """Whether there is an entry of that name."""
        folder, _, name = path.rpartition("/")
        return name in self._folder(folder)

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none."""
        folder, _, name = path.rpartition("/")
        entry = self._folder(folder).get(name)
        return entry.stat().st_size if entry is not None and entry.is_file() else None

    def missing(self, paths: Sequence[str]) -> list[str]:
        """Those of the paths that are not there."""
        return [path for path in paths if not self.has(path)]

    def _folder(self, folder: str) -> dict[str, os.DirEntry[str]]:
        if folder not in self._folders:
            self._folders[folder] = self._read(folder)
        return self._folders[folder]

    def _read(self, folder: str) -> dict[str, os.DirEntry[str]]:
        try:
            with os.scandir(self._root / folder) as entries:
                return {entry.name: entry for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return {}

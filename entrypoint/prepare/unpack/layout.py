"""Where a member of an archive goes below the archive's destination, whoever packed it and however.

Archives of the same images differ in their top folders: ``train2017/1.jpg``, ``coco/train2017/1.jpg`` or
``1.jpg`` all belong to ``coco/train2017/1.jpg``. With the destination ``coco/train2017``, what an archive
repeats of its end is taken off, wherever it stands in the folders that all members share; where it repeats
nothing, the destination is what gets added.
"""

from collections.abc import Sequence

_JUNK_FOLDERS = ("__MACOSX",)
_JUNK_FILES = (".DS_Store", "Thumbs.db")


def is_junk(name: str) -> bool:
    """What a desktop adds to archives and nobody packed."""
    parts = name.split("/")
    return parts[0] in _JUNK_FOLDERS or parts[-1] in _JUNK_FILES


def targets(names: Sequence[str], destination: str, layout: str, strip: str = "") -> list[str]:
    """The path of each member relative to the destination.

    Args:
        names: of files, with ``/`` between folders, none of them hostile.
        layout: ``tree`` keeps inner paths, ``flatten`` keeps the names alone.
        strip: a top folder that is taken off when everything is below it.
    """
    paths = [tuple(name.split("/")) for name in names]
    if layout == "flatten":
        return [path[-1] for path in paths]
    top = tuple(strip.split("/")) if strip else ()
    if top and all(path[: len(top)] == top for path in paths):
        return ["/".join(path[len(top) :]) for path in paths]
    tails = _tails(destination)
    shared = _repeated(_shared_folders(paths), tails)
    return ["/".join(path[shared or _leading(path, tails) :]) for path in paths]


def _tails(destination: str) -> list[tuple[str, ...]]:
    """The ends of the destination, the longest first."""
    parts = tuple(part for part in destination.split("/") if part)
    return [parts[start:] for start in range(len(parts))]


def _shared_folders(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    if not paths:
        return ()
    first, last = min(paths), max(paths)
    shared: list[str] = []
    for one, other in zip(first[:-1], last[:-1], strict=False):
        if one != other:
            break
        shared.append(one)
    return tuple(shared)


def _repeated(folders: tuple[str, ...], tails: Sequence[tuple[str, ...]]) -> int:
    """How many of the shared folders are taken off, up to and with what repeats the destination's end."""
    for tail in tails:
        for start in range(len(folders) - len(tail) + 1):
            if folders[start : start + len(tail)] == tail:
                return start + len(tail)
    return 0


def _leading(path: tuple[str, ...], tails: Sequence[tuple[str, ...]]) -> int:
    for tail in tails:
        if len(path) > len(tail) and path[: len(tail)] == tail:
            return len(tail)
    return 0

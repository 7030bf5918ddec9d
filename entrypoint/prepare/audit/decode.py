"""Decodes images to find those that no training could read."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from entrypoint.prepare.workers import workers

_SHARE = 64


def undecodable(root: Path, paths: Sequence[str], jobs: int) -> list[str]:
    """Those of the images (relative to ``root``) that Pillow cannot decode to the last pixel."""
    find = partial(_broken, root)
    shares = [paths[at : at + _SHARE] for at in range(0, len(paths), _SHARE)]
    count = min(jobs, len(shares))
    if count <= 1:
        return [path for share in shares for path in find(share)]
    with workers(count) as pool:
        return [path for broken in pool.map(find, shares) for path in broken]


def _broken(root: Path, paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not _decodes(root / path)]


def _decodes(path: Path) -> bool:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True

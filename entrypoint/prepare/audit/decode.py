"""Decodes images to find those that no training could read."""

import multiprocessing
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

_SHARE = 64


def undecodable(root: Path, paths: Sequence[str], jobs: int) -> list[str]:
    """Those of the images (relative to ``root``) that Pillow cannot decode to the last pixel."""
    find = partial(_broken, root)
    shares = [paths[at : at + _SHARE] for at in range(0, len(paths), _SHARE)]
    workers = min(jobs, len(shares))
    if workers <= 1:
        return [path for share in shares for path in find(share)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
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

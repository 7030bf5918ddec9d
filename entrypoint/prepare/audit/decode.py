"""Decodes images to find those that no training could read."""

import warnings
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from entrypoint.prepare.workers import map_unordered

_SHARE = 64


def undecodable(root: Path, paths: Sequence[str], jobs: int) -> list[str]:
    """Those of the images (relative to ``root``) that Pillow cannot decode to the last pixel."""
    shares = [paths[at : at + _SHARE] for at in range(0, len(paths), _SHARE)]
    with closing(map_unordered(min(jobs, len(shares)), partial(_broken, root), shares)) as found:
        broken = {path for share in found for path in share}
    return [path for path in paths if path in broken]


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

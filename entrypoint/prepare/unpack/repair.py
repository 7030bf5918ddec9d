"""Makes JPEGs of GIF, PNG, WebP and BMP pictures that go by a JPEG's name, as hundreds do in some sources."""

import io
import warnings
from pathlib import Path

_JPEG_NAMES = (".jpg", ".jpeg")
_QUALITY = 95
HEAD_BYTES = 16
"""Enough of a file for `format_of`."""


def head_of(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def format_of(head: bytes) -> str | None:
    """The format of a picture by its first bytes; None where it is not one that we know."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return "bmp" if head[:2] == b"BM" else None


def misnamed(name: str, head: bytes) -> str | None:
    """The format of a picture that is called a JPEG but is not one; None where nothing has to be done."""
    if not name.lower().endswith(_JPEG_NAMES):
        return None
    found = format_of(head)
    return None if found == "jpeg" else found


def as_jpeg(path: Path) -> bytes | None:
    """The picture (its first frame) as a JPEG, the same bytes every time; None where it does not decode."""
    from PIL import Image

    out = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                image.convert("RGB").save(out, "JPEG", quality=_QUALITY, subsampling=0)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return out.getvalue()

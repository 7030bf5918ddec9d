"""A file to an RGB picture as a person would see it."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from libmoe.config.errors import DataError

_WHITE = (255, 255, 255)


def load_image(path: Path, row_id: str) -> Image.Image:
    """Decodes an image of any mode: upright, 8 bits a channel, transparency over white.

    Raises:
        DataError: the file is missing or does not decode; names it and the row.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise DataError(
            f"The image {path} of row {row_id!r} is missing: run `libmoe prepare` again."
        ) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"The image {path} of row {row_id!r} does not decode ({error}): "
            "delete it and run `libmoe prepare` again."
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (*_WHITE, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow clips wide modes at 255; here 16-bit values lose their low byte instead."""
    values = np.asarray(image)
    if values.max(initial=0) > 255:
        values = values / 257
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))

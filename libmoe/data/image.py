"""A file to an RGB picture as a person would see it."""

from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from libmoe.config.errors import DataError, VolumeError

_WHITE = (255, 255, 255)


def load_image(path: Path, row_id: str) -> Image.Image:
    """Decodes an image of any mode: its first frame, upright, 8 bits a channel, transparency over white.

    Raises:
        DataError: the file is missing or does not decode; names it and the row.
        VolumeError: the volume does not let it be read, which says nothing about the row.
    """
    try:
        with Image.open(path) as image:
            image.load()
            _turn_upright(image)
            return _rgb(image)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"The image {path} of row {row_id!r} is missing: run `libmoe prepare` again."
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise VolumeError(
                f"The volume does not let {path} of row {row_id!r} be read ({error.strerror}): check it and "
                "start again."
            ) from error
        raise _undecodable(path, row_id, error) from error
    except Exception as error:  # on bad bytes, decoders raise anything
        raise _undecodable(path, row_id, error) from error


def _undecodable(path: Path, row_id: str, error: Exception) -> DataError:
    return DataError(
        f"The image {path} of row {row_id!r} does not decode ({error}): "
        "delete it and run `libmoe prepare` again."
    )


def _turn_upright(image: Image.Image) -> None:
    with suppress(Exception):  # the pixels are whole, only what a camera wrote beside them is not
        ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (*_WHITE, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow clips wide modes at 255; here 16 bits are scaled by their range, others by what they hold."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    brightest = values.max(initial=0)
    if image.mode.startswith("I;16") or brightest > 255:
        values = values / 257
    elif image.mode == "F" and brightest <= 1:
        values = values * 255
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))

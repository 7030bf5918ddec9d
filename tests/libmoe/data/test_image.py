"""Any file to upright RGB."""

import numpy as np
import pytest
from PIL import Image

from libmoe.config.errors import DataError
from libmoe.data.image import load_image

ORIENTATION = 0x0112


def gradient(size=(12, 8)):
    """Red grows to the right, green downwards."""
    across, down = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([across, down, 0 * down + 30], axis=-1).astype(np.uint8))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("RGB", "webp")]
)
def test_colour_modes(tmp_path, mode, suffix):
    path = tmp_path / f"x.{suffix}"
    gradient().convert(mode).save(path)
    image = load_image(path, "r")
    assert (image.mode, image.size) == ("RGB", (12, 8))
    right, left = image.getpixel((11, 0)), image.getpixel((0, 0))
    assert right[0] - left[0] > 150


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I"])
def test_grey_modes(tmp_path, mode):
    grey = np.array([[0, 128, 255]] * 4, dtype=np.uint8)
    if mode.startswith("I"):
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
        picture = picture.convert("I") if mode == "I" else picture
    else:
        picture = Image.fromarray(grey).convert(mode)
    path = tmp_path / ("x.tif" if mode == "I" else "x.png")
    picture.save(path)
    image = load_image(path, "r")
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (0, 0, 0)
    assert image.getpixel((2, 0)) == (255, 255, 255)
    if mode != "1":
        assert image.getpixel((1, 0)) == (128, 128, 128)


def test_what_is_transparent_is_white(tmp_path):
    path = tmp_path / "x.png"
    picture = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    picture.save(path)
    image = load_image(path, "r")
    assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == ((255, 0, 0), (255, 255, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_upright(tmp_path, orientation):
    stored = gradient()
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }.get(orientation, [])
    for step in undo:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "x.png"
    stored.save(path, exif=exif)
    assert np.array_equal(np.asarray(load_image(path, "r")), np.asarray(gradient()))


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg of row 'r7' is missing.*prepare"):
        load_image(tmp_path / "gone.jpg", "r7")


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated"])
def test_a_damaged_image_is_named(tmp_path, damage):
    path = tmp_path / "bad.jpg"
    Image.effect_noise((64, 64), 90).save(path)
    whole = path.read_bytes()
    path.write_bytes({"garbage": b"<html>404</html>", "empty": b"", "truncated": whole[:-400]}[damage])
    with pytest.raises(DataError, match=r"bad\.jpg of row 'r7' does not decode"):
        load_image(path, "r7")

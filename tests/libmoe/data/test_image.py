"""Any file to upright RGB."""

import struct
import zlib
from itertools import starmap

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


def noise(size):
    """Grey; Pillow's own draws another picture each time."""
    values = np.random.RandomState(3).normal(128, 90, size[::-1])
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


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


def test_sixteen_bits_are_a_range_however_dark(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.array([[0, 255, 257]], dtype=np.uint16)).save(path)
    assert [load_image(path, "r").getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (1, 1, 1), (1, 1, 1)]


@pytest.mark.parametrize("brightest", [1.0, 255.0, 65535.0])
def test_floating_point_is_scaled_by_what_it_holds(tmp_path, brightest):
    path = tmp_path / "x.tif"
    Image.fromarray(np.array([[0, 0.5, 1, np.nan]], dtype=np.float32) * brightest).save(path)
    image = load_image(path, "r")
    assert [image.getpixel((x, 0))[0] for x in range(4)] == [0, 128, 255, 0]


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


@pytest.mark.parametrize(("mode", "suffix"), [("LA", "png"), ("RGBA", "webp"), ("RGBA", "tif")])
def test_what_is_half_transparent_is_half_white(tmp_path, mode, suffix):
    path = tmp_path / f"x.{suffix}"
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).convert(mode).save(
        path, **{"lossless": True} if suffix == "webp" else {}
    )
    assert load_image(path, "r").getpixel((4, 4)) == (127, 127, 127)


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    path = tmp_path / "x.png"
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    picture.save(path, transparency=1)
    image = load_image(path, "r")
    assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == ((255, 0, 0), (255, 255, 255))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_a_film_the_first_picture_is_taken(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    red.save(path, save_all=True, append_images=[blue], lossless=True)
    image = load_image(path, "r")
    assert (image.mode, image.getpixel((4, 4))) == ("RGB", (255, 0, 0))


def test_a_photograph_for_print_keeps_its_colours(tmp_path):
    """CMYK as Adobe writes it to JPEG: inverted, with a marker that says so."""
    path = tmp_path / "x.jpg"
    Image.new("RGB", (16, 16), (250, 20, 20)).convert("CMYK").save(path, quality=95)
    assert b"Adobe" in path.read_bytes()
    red, green, blue = load_image(path, "r").getpixel((8, 8))
    assert red > 230
    assert max(green, blue) < 50


@pytest.mark.parametrize("nonsense", [b"MM\0*'", b"MM\0\x91\0\0\0\x08"], ids=["cut off", "no header"])
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_camera_that_writes_nonsense_spoils_no_picture(tmp_path, suffix, nonsense):
    path = tmp_path / f"x.{suffix}"
    gradient().save(path, exif=b"Exif\0\0" + nonsense)
    assert load_image(path, "r").size == (12, 8)


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


def test_a_photograph_of_a_telephone_held_upright(tmp_path):
    path = tmp_path / "x.jpg"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    gradient((120, 80)).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    image = load_image(path, "r")
    assert image.size == (120, 80)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(gradient((120, 80)))).mean() < 4


def test_colours_of_sixteen_bits_lose_their_low_byte(tmp_path):
    """PNG as scanners write it; Pillow cannot."""
    path = tmp_path / "x.png"
    colours = np.array([[0x12AB, 0xFF00, 0x00FF]], dtype=">u2")
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + colours.tobytes())), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(starmap(_png_chunk, chunks)))
    assert load_image(path, "r").getpixel((0, 0)) == (0x12, 0xFF, 0)


def _png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg of row 'r7' is missing.*prepare"):
        load_image(tmp_path / "gone.jpg", "r7")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif"])
def test_bytes_gone_wrong_raise_nothing_else(tmp_path, suffix):
    """Whatever a decoder makes of damaged bytes: a picture, or an error that names the file."""
    path = tmp_path / f"bad.{suffix}"
    random = np.random.RandomState(4)
    noise((40, 30)).convert("P").convert("RGB").save(path)
    whole = path.read_bytes()
    refused = []
    for _ in range(60):
        damaged = bytearray(whole[: random.randint(20, len(whole) + 1)])
        for place in random.randint(0, len(damaged), 12):
            damaged[place] = random.randint(256)
        path.write_bytes(damaged)
        try:
            assert load_image(path, "r7").mode == "RGB"
        except DataError as error:
            refused.append(str(error))
    assert refused
    assert all(f"bad.{suffix} of row 'r7' does not decode" in message for message in refused)


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated"])
def test_a_damaged_image_is_named(tmp_path, damage):
    path = tmp_path / "bad.jpg"
    noise((64, 64)).save(path)
    whole = path.read_bytes()
    path.write_bytes({"garbage": b"<html>404</html>", "empty": b"", "truncated": whole[:-400]}[damage])
    with pytest.raises(DataError, match=r"bad\.jpg of row 'r7' does not decode"):
        load_image(path, "r7")

"""Our two halves against transformers' own processor."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from entrypoint.sample.album import ALBUM
from libmoe.data.image import load_image
from libmoe.data.pixels import Pixels

HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def reference(side, pad, colours):
    size = {"height": side, "width": side}
    return LlavaImageProcessorPil(size=size, do_center_crop=False, do_pad=pad, **colours)


def levels_apart(processor, image):
    """By how much of 255 each colour of ours differs from the reference's."""
    pixels = Pixels.of(processor)
    ours = pixels.to_colours(pixels.to_bytes(image).unsqueeze(0))
    theirs = processor([image], return_tensors="pt").pixel_values
    assert ours.shape == theirs.shape
    assert (ours.dtype, ours.is_contiguous()) == (theirs.dtype, True)
    return (ours - theirs).abs() * 255 * torch.tensor(processor.image_std).view(3, 1, 1)


@pytest.mark.parametrize("colours", [HALF, CLIP], ids=["siglip", "clip"])
def test_colours_of_all_bytes_are_the_references_to_the_bit(colours):
    processor = reference(16, False, colours)
    every = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    pixels = Pixels.of(processor)
    ours = pixels.to_colours(pixels.to_bytes(every).unsqueeze(0))
    assert torch.equal(ours, processor([every], return_tensors="pt").pixel_values)


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("side", [28, 168])
@pytest.mark.parametrize("size", [(64, 48), (48, 64), (640, 480), (168, 168), (333, 76), (1, 1), (700, 2)])
def test_the_sharpest_picture_differs_by_rounding_alone(size, side, pad):
    """Black and white noise, in which a weight or a place that is wrong shows most."""
    noise = np.random.default_rng(0).integers(0, 2, (*size[::-1], 3), dtype=np.uint8) * 255
    apart = levels_apart(reference(side, pad, CLIP), Image.fromarray(noise))
    assert apart.max() < 2.01
    assert (apart > 0.5).float().mean() < 0.05


@pytest.mark.parametrize("size", [(300, 517), (200, 900), (427, 640)])
def test_photographs_much_too_high_differ_little(size):
    for photo in ALBUM.photos[:3]:
        picture = load_image(photo.path, "r").resize(size)
        apart = levels_apart(reference(168, False, HALF), picture)
        assert apart.max() < 4.01
        assert apart.mean() < 0.25


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (3000, 2)])
@pytest.mark.parametrize("pad", [True, False])
def test_any_shape_becomes_a_square_that_the_tower_takes(size, pad):
    pixels = Pixels(28, pad, [0.5] * 3, [0.5] * 3).to_bytes(Image.new("RGB", size, "white"))
    assert (pixels.shape, pixels.dtype) == ((28, 28, 3), torch.uint8)
    filled = (pixels > 250).float().mean()
    assert filled == 1 if not pad or size == (1, 1) else filled < 0.2


def test_what_is_padded_has_the_mean_colour_above_and_below():
    pixels = Pixels(60, True, [0.2, 0.4, 0.6], [0.5] * 3).to_bytes(Image.new("RGB", (60, 20), "white"))
    assert pixels[0, 0].tolist() == pixels[59, 59].tolist() == [51, 102, 153]
    assert pixels[30].unique().tolist() == [255]

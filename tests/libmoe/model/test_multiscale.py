"""Multi-scale features against their equation, with towers that can be followed by hand."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from libmoe.model.multiscale import cut, multiscale_features, pool, resize

SIZE, GRID = 8, 4  # a tower of 8 x 8 pixels in patches of 2


def patch_means(tiles: Tensor) -> Tensor:
    """A tower whose feature of a patch is the patch's mean colour."""
    return F.avg_pool2d(tiles, SIZE // GRID).flatten(2).transpose(1, 2)


def test_by_hand() -> None:
    pixels = torch.rand(2, 3, 24, 24, dtype=torch.float64)
    features = multiscale_features(patch_means, pixels, [1, 3], SIZE)
    assert features.shape == (2, 16, 6)
    small = F.interpolate(pixels, size=(8, 8), mode="bicubic", antialias=True)
    for b, row, column in [(0, 0, 0), (0, 1, 2), (1, 3, 3), (1, 2, 0)]:
        token = features[b, row * GRID + column]
        base = small[b, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean((1, 2))
        tiled = pixels[b, :, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6].mean((1, 2))
        torch.testing.assert_close(token, torch.cat([base, tiled]))


def test_tiles_follow_each_other_row_by_row() -> None:
    pixels = torch.arange(36.0).view(1, 1, 6, 6)
    tiles = cut(pixels, 3)
    assert tiles.shape == (9, 1, 2, 2)
    assert tiles[1, 0].tolist() == [[2, 3], [8, 9]]
    assert tiles[3, 0].tolist() == [[12, 13], [18, 19]]


def test_pooling_crosses_tiles() -> None:
    # A map of 2 x 2 from 3 x 3 tiles of 2 x 2: each token averages 3 x 3 of the 6 x 6 merged positions.
    merged = torch.arange(36.0).view(1, 1, 6, 6)
    tiles = cut(merged, 3).flatten(2).transpose(1, 2)
    assert pool(tiles, 3).flatten().tolist() == F.avg_pool2d(merged, 3).flatten().tolist()


def test_the_tower_runs_once_over_the_tiles_of_all_scales() -> None:
    calls = []

    def tower(tiles: Tensor) -> Tensor:
        calls.append(tuple(tiles.shape))
        return patch_means(tiles)

    multiscale_features(tower, torch.rand(2, 3, 24, 24), [1, 3], SIZE)
    assert calls == [(2 + 18, 3, 8, 8)]


def test_no_image() -> None:
    features = multiscale_features(patch_means, torch.rand(0, 3, 24, 24), [1, 3], SIZE)
    assert features.shape == (0, 16, 6)


@pytest.mark.parametrize("scales", [[1], [2], [1, 2, 3]])
def test_a_flat_image_has_flat_features_at_any_scale(scales: list[int]) -> None:
    features = multiscale_features(patch_means, torch.full((1, 3, 24, 24), 0.5), scales, SIZE)
    torch.testing.assert_close(features, torch.full((1, 16, 3 * len(scales)), 0.5))


def test_reduction_is_antialiased_and_enlargement_is_not() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(12).expand(1, 1, 24, 24)
    assert (resize(stripes, 8)[..., 2:-2] - 0.5).abs().max() < 0.05
    torch.testing.assert_close(
        resize(stripes, 48), F.interpolate(stripes, size=(48, 48), mode="bicubic", antialias=False)
    )


def test_bfloat16_pixels_are_resized_in_float32() -> None:
    pixels = torch.rand(1, 3, 24, 24).bfloat16()
    small = resize(pixels, 8)
    assert small.dtype == torch.bfloat16
    assert torch.equal(small, resize(pixels.float(), 8).bfloat16())


@pytest.mark.parametrize("shape", [(28, 56), (56, 28), (84, 28), (20, 40)])
def test_pixels_of_another_shape_become_square(shape: tuple[int, int]) -> None:
    pixels = torch.randn(2, 3, *shape)
    square = resize(pixels, 28)
    assert square.shape == (2, 3, 28, 28)
    assert cut(resize(pixels, 84), 3).shape == (18, 3, 28, 28)

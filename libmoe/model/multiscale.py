"""Multi-scale vision features (S2, arXiv:2403.13043): small tiles of large images, at no extra token.

For each scale s the image is resized to s times the tower's size and cut into s x s tiles; the tower sees
every tile at its own size; the tiles' maps are laid side by side again and averaged over s x s blocks:

    F_s = pool_s(merge(tower(tiles(resize(x, s)))))        F = concat_s(F_s) on channels

(B, 3, S, S) pixels become (B, G * G, D * number of scales) features for a tower with a G x G grid.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def multiscale_features(
    tower: Callable[[Tensor], Tensor], pixels: Tensor, scales: Sequence[int], size: int
) -> Tensor:
    """Features of ``pixels`` at all ``scales``.

    The tower runs once over the tiles of all scales: under ZeRO-3 every call gathers its weights.

    Args:
        tower: ``(N, 3, size, size)`` to ``(N, G * G, D)``.
        pixels: ``(B, 3, H, H)``, normally at the largest scale; B may be 0.
    """
    tiles = [cut(resize(pixels, scale * size), scale) for scale in scales]
    maps = tower(torch.cat(tiles)).split([len(part) for part in tiles])
    return torch.cat([pool(part, scale) for part, scale in zip(maps, scales, strict=True)], dim=-1)


def resize(pixels: Tensor, side: int) -> Tensor:
    """To a square; bicubic, antialiased where it reduces; computed in float32 at least."""
    longest = max(pixels.shape[-2:])
    if longest == min(pixels.shape[-2:]) == side:
        return pixels
    wide = pixels.to(torch.promote_types(pixels.dtype, torch.float32))
    resized = F.interpolate(wide, size=(side, side), mode="bicubic", antialias=side < longest)
    return resized.to(pixels.dtype)


def cut(pixels: Tensor, scale: int) -> Tensor:
    """``(B, C, s*H, s*W)`` to ``(B*s*s, C, H, W)``; the tiles of an image follow each other row by row."""
    tiled = pixels.unflatten(3, (scale, -1)).unflatten(2, (scale, -1))  # (B, C, s, H, s, W)
    return tiled.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def pool(maps: Tensor, scale: int) -> Tensor:
    """``(B*s*s, G*G, D)`` to ``(B, G*G, D)``: tiles merged to ``(s*G, s*G)``, averaged to ``(G, G)``."""
    tokens, width = maps.shape[1:]
    grid = int(tokens**0.5)
    batch = len(maps) // scale**2
    merged = maps.reshape(batch, scale, scale, grid, grid, width).transpose(2, 3)
    blocks = merged.reshape(batch, grid, scale, grid, scale, width)
    return blocks.mean((2, 4)).flatten(1, 2)

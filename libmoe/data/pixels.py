"""A picture to the tower's pixels, in two halves: bytes in the loader, colours where the model is.

Bytes are a quarter of what crosses shared memory and the bus. Between them both halves do what transformers'
LLaVA processor does, whose NumPy form takes many times as long for rescaling in float64 and reordering.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import BaseImageProcessor


@dataclass(frozen=True)
class Pixels:
    """What becomes of every picture.

    Bytes are resized bicubically, antialiased, across and then down: the very numbers that transformers has
    where torchvision is installed. Without, it asks Pillow, which rounds otherwise and goes down first where
    an image is much too high: what it makes differs by one of 255 here and there, by four at most.
    """

    side: int
    pad: bool
    """Whether to pad to a square with the mean colour before resizing; otherwise both sides are resized."""
    mean: Sequence[float]
    std: Sequence[float]

    @classmethod
    def of(cls, processor: BaseImageProcessor) -> "Pixels":
        """What a LLaVA image processor of square size does."""
        mean, std = tuple(processor.image_mean), tuple(processor.image_std)
        return cls(processor.size["height"], processor.do_pad, mean, std)

    def to_bytes(self, image: Image.Image) -> Tensor:
        """RGB of any size to (side, side, 3) uint8."""
        array = np.array(image)
        square = self._padded(array) if self.pad else array
        pixels_1CHW = torch.from_numpy(square).unsqueeze(0).permute(0, 3, 1, 2)
        size = (self.side, self.side)
        resized_1CHW = F.interpolate(pixels_1CHW, size=size, mode="bicubic", antialias=True)
        return resized_1CHW[0].permute(1, 2, 0).contiguous()

    def to_colours(self, pixels: Tensor) -> Tensor:
        """(N, side, side, 3) uint8 to (N, 3, side, side) float32, normalised, on the same device."""
        pixels_NCHW = pixels.permute(0, 3, 1, 2)
        colours_NCHW = pixels_NCHW.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        for channel, mean, std in zip(colours_NCHW.unbind(1), self.mean, self.std, strict=True):
            channel.sub_(mean).div_(std)  # a tensor of them would have to be brought to the device
        return colours_NCHW

    def _padded(self, array: np.ndarray) -> np.ndarray:
        height, width = array.shape[:2]
        if height == width:
            return array
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        square = np.empty((side, side, 3), np.uint8)
        square[:] = [int(255 * mean) for mean in self.mean]
        square[top : top + height, left : left + width] = array
        return square

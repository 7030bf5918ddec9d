"""Row numbers to samples: tokens, labels, pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from libmoe.data.conversation import ConversationEncoder
from libmoe.data.image import load_image
from libmoe.data.rows import Rows


@dataclass(frozen=True)
class Sample:
    """One row, ready to be collated: ``input_ids`` and ``labels`` (L,), each image (3, H, W)."""

    row_id: str
    input_ids: Tensor
    labels: Tensor
    images: tuple[Tensor, ...]


class ConversationDataset(Dataset[Sample]):
    """The rows of an index as samples.

    Args:
        data_dir: root of the volume, where the rows' image paths start.
        image_processor: transformers' image processor; gives every image the same size.
    """

    def __init__(
        self, rows: Rows, data_dir: Path, encoder: ConversationEncoder, image_processor: Any
    ) -> None:
        self._rows = rows
        self._data_dir = data_dir
        self._encoder = encoder
        self._image_processor = image_processor

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Sample:
        """The sample of a row.

        Raises:
            DataError: an image is missing or undecodable, or the row cannot be encoded.
        """
        row = self._rows[number]
        tokens = self._encoder.encode(row)
        images = [load_image(self._data_dir / name, row.id) for name in row.images]
        pixels = self._image_processor(images, return_tensors="pt").pixel_values if images else ()
        return Sample(row.id, torch.tensor(tokens.input_ids), torch.tensor(tokens.labels), tuple(pixels))

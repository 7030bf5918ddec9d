"""Row numbers to samples: tokens, labels, pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from libmoe.config.errors import DataError
from libmoe.data.conversation import ConversationEncoder
from libmoe.data.image import load_image
from libmoe.data.pixels import Pixels
from libmoe.data.rows import Row, Rows


@dataclass(frozen=True)
class Sample:
    """One row, ready to be collated: ``input_ids`` and ``labels`` (L,), each image (S, S, 3) uint8."""

    row_id: str
    input_ids: Tensor
    labels: Tensor
    images: tuple[Tensor, ...]


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be read, and why. Its place in the batch stays empty."""

    row_id: str
    number: int
    reason: str


class ConversationDataset(Dataset[Sample | Skipped]):
    """The rows of an index as samples.

    Args:
        data_dir: root of the volume, where the rows' image paths start.
        pixels: gives every image the same size.
        unreadable: what becomes of a row that cannot be read: ``fail`` raises, ``skip`` returns ``Skipped``.
    """

    def __init__(
        self,
        rows: Rows,
        data_dir: Path,
        encoder: ConversationEncoder,
        pixels: Pixels,
        unreadable: Literal["fail", "skip"] = "fail",
    ) -> None:
        self._rows = rows
        self._data_dir = data_dir
        self._encoder = encoder
        self._pixels = pixels
        self._unreadable = unreadable

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Sample | Skipped:
        """The sample of a row.

        Raises:
            DataError: an image is missing or undecodable, or the row cannot be encoded, and that is to fail.
            VolumeError: the volume does not let an image be read; never skipped, as the row may be good.
        """
        row = self._rows[number]
        try:
            return self._sample(row)
        except DataError as error:
            if self._unreadable == "fail":
                advice = "or leave such rows out with --set data.unreadable=skip."
                raise DataError(f"{str(error).removesuffix('.')}, {advice}") from error
            return Skipped(row.id, number, str(error))

    def _sample(self, row: Row) -> Sample:
        tokens = self._encoder.encode(row)
        images = (load_image(self._data_dir / name, row.id) for name in row.images[: tokens.images])
        pixels = tuple(self._pixels.to_bytes(image) for image in images)
        return Sample(row.id, torch.tensor(tokens.input_ids), torch.tensor(tokens.labels), pixels)

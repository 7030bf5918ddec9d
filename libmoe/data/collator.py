"""Samples to a batch: padded on the right, every batch with at least one image."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from libmoe.data.conversation import IGNORED
from libmoe.data.dataset import Sample


@dataclass(frozen=True)
class BatchFacts:
    """What a batch holds, known without asking the device. Travels with the batch, never into the model."""

    rows: tuple[str, ...]
    tokens: int
    """Without padding; image tokens included."""
    images: int
    unlabelled: tuple[str, ...]
    """Rows in which nothing can be learnt, as all of their labels are masked."""


@dataclass(frozen=True)
class Collator:
    """Stacks samples.

    A batch of text alone gets one blank image whose tokens lie behind the end of its shortest row, masked
    like padding. Nothing attends to it and nothing is learnt from it, yet tower and connector run on every
    rank and all of their parameters get a gradient (of zero): under ZeRO-3 a rank that skipped them would
    hang the others.

    Args:
        image_tokens: placeholder tokens of one image.
        image_size: (height, width) of the processor's images.
    """

    pad_id: int
    image_id: int
    image_tokens: int
    image_size: tuple[int, int]

    def __call__(self, samples: list[Sample]) -> dict[str, Any]:
        """``input_ids``, ``labels``, ``attention_mask`` (B, L); ``pixel_values`` (I, 3, H, W); ``facts``."""
        ids = [sample.input_ids for sample in samples]
        labels = [sample.labels for sample in samples]
        mask = [torch.ones_like(row) for row in ids]
        images = [image for sample in samples for image in sample.images]
        facts = BatchFacts(
            rows=tuple(sample.row_id for sample in samples),
            tokens=sum(map(len, ids)),
            images=len(images),
            unlabelled=tuple(sample.row_id for sample in samples if not _learns(sample)),
        )
        if not images:
            images = [torch.zeros(3, *self.image_size)]
            shortest = min(range(len(ids)), key=lambda number: len(ids[number]))
            ids[shortest] = torch.cat([ids[shortest], torch.full((self.image_tokens,), self.image_id)])
        return {
            "input_ids": _pad(ids, self.pad_id),
            "labels": _pad_to(ids, labels, IGNORED),
            "attention_mask": _pad_to(ids, mask, 0),
            "pixel_values": torch.stack(images),
            "facts": facts,
        }


def _learns(sample: Sample) -> bool:
    """The first token is never predicted, so its label does not count."""
    return bool((sample.labels[1:] != IGNORED).any())


def _pad(rows: list[Tensor], value: int) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=value)


def _pad_to(widest: list[Tensor], rows: list[Tensor], value: int) -> Tensor:
    """Pads ``rows`` as wide as ``widest`` would be."""
    width = max(map(len, widest))
    padded = torch.full((len(rows), width), value)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded

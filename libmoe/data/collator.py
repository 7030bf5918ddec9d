"""Samples to a batch, padded on the right."""

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
    """Stacks samples; a batch of text alone has no ``pixel_values``."""

    pad_id: int

    def __call__(self, samples: list[Sample]) -> dict[str, Any]:
        """``input_ids``, ``labels``, ``attention_mask`` (B, L); ``pixel_values`` (I, 3, H, W); ``facts``."""
        ids = [sample.input_ids for sample in samples]
        images = [image for sample in samples for image in sample.images]
        facts = BatchFacts(
            rows=tuple(sample.row_id for sample in samples),
            tokens=sum(map(len, ids)),
            images=len(images),
            unlabelled=tuple(sample.row_id for sample in samples if not _learns(sample)),
        )
        batch = {
            "input_ids": _pad(ids, self.pad_id),
            "labels": _pad([sample.labels for sample in samples], IGNORED),
            "attention_mask": _pad([torch.ones_like(row) for row in ids], 0),
            "facts": facts,
        }
        return {**batch, "pixel_values": torch.stack(images)} if images else batch


def _learns(sample: Sample) -> bool:
    """The first token is never predicted, so its label does not count."""
    return bool((sample.labels[1:] != IGNORED).any())


def _pad(rows: list[Tensor], value: int) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=value)

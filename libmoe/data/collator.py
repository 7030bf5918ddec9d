"""Samples to a batch, and what it holds in figures."""

from dataclasses import dataclass
from typing import Any

import torch

from libmoe.data.conversation import IGNORED
from libmoe.data.dataset import Sample, Skipped
from libmoe.data.layout import Layout


@dataclass(frozen=True)
class BatchFacts:
    """What a batch holds, known without asking the device. Travels with the batch, never into the model."""

    rows: tuple[str, ...]
    tokens: int
    """Without padding; image tokens included."""
    images: int
    unlabelled: tuple[str, ...]
    """Rows in which nothing can be learnt, as all of their labels are masked."""
    skipped: tuple[Skipped, ...] = ()
    """Rows that belong to the batch and could not be read."""
    pairs: int = 0
    """Pairs of tokens of one row: the sum of the squares of the rows' lengths, which attention costs."""


@dataclass(frozen=True)
class Collator:
    """Puts samples into tensors as ``layout`` says; a batch of text alone has no ``pixel_values``.

    A row that could not be read is left out, so that the step learns from fewer tokens. Where all were, one
    token without label stands for them: every rank has to compute every micro batch.
    """

    layout: Layout
    stand_in: int
    """Any token."""

    def __call__(self, items: list[Sample | Skipped]) -> dict[str, Any]:
        """What ``layout`` makes; ``pixel_values`` (I, S, S, 3) uint8, in the order of their tokens;
        ``facts``.
        """
        samples = [item for item in items if isinstance(item, Sample)]
        images = [image for sample in samples for image in sample.images]
        lengths = [len(sample.input_ids) for sample in samples]
        facts = BatchFacts(
            rows=tuple(sample.row_id for sample in samples),
            tokens=sum(lengths),
            images=len(images),
            unlabelled=tuple(sample.row_id for sample in samples if not _learns(sample)),
            skipped=tuple(item for item in items if isinstance(item, Skipped)),
            pairs=sum(length**2 for length in lengths),
        )
        batch = {**self.layout(samples or [self._nothing()]), "facts": facts}
        return {**batch, "pixel_values": torch.stack(images)} if images else batch

    def _nothing(self) -> Sample:
        return Sample("", torch.tensor([self.stand_in]), torch.tensor([IGNORED]), ())


def _learns(sample: Sample) -> bool:
    """The first token is never predicted, so its label does not count."""
    return bool((sample.labels[1:] != IGNORED).any())

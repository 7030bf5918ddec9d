"""transformers' Trainer with our order of the data; all else that is ours is callbacks."""

from typing import Any

from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, Trainer

from libmoe.data.sampler import EpochSampler


class OrderedTrainer(Trainer):
    """A Trainer whose batches are what ``sampler`` says."""

    def __init__(self, *, sampler: EpochSampler, **options: Any) -> None:
        self._sampler = sampler
        super().__init__(**options)
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        return self._sampler

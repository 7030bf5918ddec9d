"""transformers' Trainer with our order of the data; all else that is ours is callbacks."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, Trainer

from libmoe.config.errors import DataError
from libmoe.data.pixels import Pixels
from libmoe.data.sampler import EpochSampler


class OrderedTrainer(Trainer):
    """A Trainer whose batches are what ``sampler`` says, and which divides each step's loss by its labels.

    Args:
        pixels: makes colours of a batch's bytes, on the device.
    """

    def __init__(self, *, sampler: EpochSampler, pixels: Pixels, **options: Any) -> None:
        self._sampler = sampler
        self._pixels = pixels
        super().__init__(**options)
        self.remove_callback(PrinterCallback)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Reports a step; what is summed up for the next one starts from 0, also after a loss that is NaN."""
        super().log(logs, start_time)
        self._tr_loss.zero_()

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Nothing after the last step: a run that resumes there has its model to save and no step to make."""
        if self.state.global_step >= self.state.max_steps:
            return [], None
        samples: tuple[list[Any], Tensor | int | None] = super().get_batch_samples(
            epoch_iterator, num_batches, device
        )
        return samples

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        return self._sampler

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Of a batch that is on the device already; the Trainer brings colours to the model's precision."""
        if "pixel_values" in inputs:
            inputs = {**inputs, "pixel_values": self._pixels.to_colours(inputs["pixel_values"])}
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        return prepared

    def _get_num_items_in_batch(
        self, batch_samples: Sequence[dict[str, Any]], device: torch.device
    ) -> Tensor | int | None:
        """Labels of a step, over all ranks.

        Raises:
            DataError: there are none, which makes the loss no number; every rank finds the same.
        """
        labels = super()._get_num_items_in_batch(batch_samples, device)
        if labels is not None and not int(labels):
            rows = [row for batch in batch_samples for row in batch["facts"].rows]
            reasons = [row.reason for batch in batch_samples for row in batch["facts"].skipped]
            raise DataError(
                f"Nothing can be learnt in step {self.state.global_step + 1}: "
                + (reasons[0] if reasons else f"all labels of the rows {', '.join(rows)} are masked.")
            )
        return labels

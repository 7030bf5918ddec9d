"""transformers' Trainer with our order of the data. All else that is ours is callbacks, but for five methods.

Each is overridden for what transformers does there and gives no other way to change; its docstring says what.
"""

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
        """Reports a step; the sum for the next one starts from 0.

        transformers subtracts the sum from itself, which leaves a NaN in it for the rest of the run.
        """
        super().log(logs, start_time)
        self._tr_loss.zero_()

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Nothing after the last step.

        transformers makes one step before it looks whether there are any left, also where a run resumes after
        its last one and has but its model to save.
        """
        if self.state.global_step >= self.state.max_steps:
            return [], None
        samples: tuple[list[Any], Tensor | int | None] = super().get_batch_samples(
            epoch_iterator, num_batches, device
        )
        return samples

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        """Ours; transformers makes one by its name and takes none from outside."""
        return self._sampler

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Makes colours of the bytes of a batch, which is on the device already.

        transformers has no turn of its own between device and model; colours made before would have to cross.
        """
        if "pixel_values" in inputs:
            inputs = {**inputs, "pixel_values": self._pixels.to_colours(inputs["pixel_values"])}
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        return prepared

    def _get_num_items_in_batch(
        self, batch_samples: Sequence[dict[str, Any]], device: torch.device
    ) -> Tensor | int | None:
        """Labels of a step, over all ranks.

        transformers divides the loss by them, be there any or none.

        Raises:
            DataError: there are none, so that the loss would not be a number; every rank finds the same.
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

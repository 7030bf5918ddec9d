"""The same numbers for TensorBoard."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from libmoe.train.callbacks.record import StepRecord


class TensorBoard:
    """One curve a number, in ``<run>/tensorboard``; ``start`` is the step resumed from."""

    def __init__(self, folder: Path, start: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def write(self, record: StepRecord, last_step: int) -> None:
        """See ``Sink``."""
        values = record.known()
        step = int(values.pop("step"))
        for name, value in values.items():
            self._writer.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        """See ``Sink``."""
        self._writer.close()

"""What a stage will take, from its settings and its data, before any process starts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from entrypoint.launch.estimate.data_size import DataSize, data_size
from libmoe.config.counting import Anatomy, Memory, anatomy, count_memory, row_costs
from libmoe.config.errors import ConfigError
from libmoe.config.gpus import Gpu
from libmoe.config.run import RunSpec
from libmoe.config.schema import RunConfig

ASSUMED_MFU = 0.35


@dataclass(frozen=True)
class Forecast:
    """What one stage takes on ``gpu`` (None: it trains on the CPU, or nothing is known of its GPUs)."""

    spec: RunSpec
    gpu: Gpu | None = None
    mfu: float = ASSUMED_MFU
    """Share of the GPU's peak that is thought to be used."""

    @cached_property
    def data(self) -> DataSize:
        """The rows."""
        return data_size(self.spec)

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return self.data.steps(self.spec.config.train)

    @property
    def anatomy(self) -> Anatomy | None:
        """What is counted; None where the model is not known, and `uncounted` says why."""
        return self._known[0]

    @property
    def uncounted(self) -> str | None:
        """Why operations and memory are not counted; None where they are."""
        no_rows = f"No row of {self.spec.annotations.name} can be used."
        return self._known[1] or (None if self.data.rows else no_rows)

    @property
    def tokens(self) -> int | None:
        """How many the whole run trains on, image tokens among them."""
        return self._of_run(self._lengths(self.anatomy)) if self.anatomy else None

    @property
    def images(self) -> int | None:
        """How many the whole run trains on."""
        return self._of_run(self._images(self.anatomy)) if self.anatomy else None

    def row_flops(self, *, again: bool) -> int | None:
        """Operations of a row, forward and backward, on average; None where they are not counted.

        Args:
            again: with what activation checkpointing computes a second time; MFU leaves it out.
        """
        if self.anatomy is None or self.uncounted:
            return None
        train = self.spec.config.train
        costs = row_costs(self.anatomy, train.trainable, train.activation_checkpointing and again)
        lengths, images = self._lengths(self.anatomy), self._images(self.anatomy)
        total = costs.of(int(lengths.sum()), int((lengths**2).sum()), int(images.sum()))
        return total // self.data.rows

    def memory(self, run: RunConfig | None = None) -> Memory | None:
        """What one rank needs for its largest micro batch, the longest rows together; None if not counted.

        Args:
            run: with other settings than the stage's own.
        """
        if self.anatomy is None or self.uncounted:
            return None
        run = run or self.spec.config
        lengths, images = self._lengths(self.anatomy), self._images(self.anatomy)
        longest = np.argsort(lengths)[-run.train.micro_batch_size :]
        tokens = lengths[longest].mean() if run.data.packing else lengths[longest].max()
        most = np.sort(images)[-run.train.micro_batch_size :].mean()
        return count_memory(
            self.anatomy, run, self.spec.world.size, tokens=int(np.ceil(tokens)), images=int(np.ceil(most))
        )

    @property
    def hours(self) -> float | None:
        """How long, at the assumed share of the peak; None where the peak is not known or is not bf16's."""
        flops = self.row_flops(again=False)
        peak = self.gpu.bf16_flops if self.gpu and self.spec.config.train.precision == "bf16" else None
        if flops is None or peak is None:
            return None
        samples = self.steps * self.spec.config.train.global_batch_size
        return flops * samples / (peak * self.spec.world.size * self.mfu) / 3600

    @cached_property
    def _known(self) -> tuple[Anatomy | None, str | None]:
        """The model's anatomy, or why it is not known."""
        try:
            return anatomy(self.spec.config.model, self.spec.config.moe), None
        except ConfigError as error:
            return None, str(error)

    def _lengths(self, model: Anatomy) -> np.ndarray:
        return self.data.lengths(model.image_tokens)

    def _images(self, model: Anatomy) -> np.ndarray:
        return self.data.kept_images(model.image_tokens)

    def _of_run(self, of_rows: np.ndarray) -> int:
        """A figure of each row, summed over all steps."""
        samples = self.steps * self.spec.config.train.global_batch_size
        return round(float(of_rows.mean()) * samples) if len(of_rows) else 0

"""What a stage will take, from its settings and its data, before any process starts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from entrypoint.launch.data_size import DataSize, data_size
from libmoe.config.counting import Anatomy, Memory, anatomy, count_memory, row_costs
from libmoe.config.errors import ConfigError
from libmoe.config.gpus import Gpu
from libmoe.config.run import RunSpec
from libmoe.config.schema import RunConfig

ASSUMED_MFU = 0.35


@dataclass(frozen=True)
class Forecast:
    """Of one stage, on ``gpu`` (None: it trains on the CPU, or nothing is known of its GPUs)."""

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

    @cached_property
    def model(self) -> Anatomy | str:
        """What is counted; where it is not known, why."""
        try:
            return anatomy(self.spec.config.model, self.spec.config.moe)
        except ConfigError as error:
            return str(error)

    @property
    def tokens(self) -> int | None:
        """That the whole run trains on, image tokens among them."""
        return None if isinstance(self.model, str) else self._of_run(self._lengths(self.model))

    @property
    def images(self) -> int | None:
        """That the whole run trains on."""
        return None if isinstance(self.model, str) else self._of_run(self._images(self.model))

    def row_flops(self, *, again: bool) -> int | None:
        """Operations of a row, forward and backward, on average.

        Args:
            again: with what activation checkpointing computes a second time; MFU leaves it out.
        """
        if isinstance(self.model, str) or not self.data.rows:
            return None
        train = self.spec.config.train
        costs = row_costs(self.model, train.trainable, train.activation_checkpointing and again)
        lengths, images = self._lengths(self.model), self._images(self.model)
        total = costs.of(int(lengths.sum()), int((lengths**2).sum()), int(images.sum()))
        return total // self.data.rows

    def memory(self, run: RunConfig | None = None) -> Memory | None:
        """Of one rank, at its largest micro batch: the longest rows together.

        Args:
            run: with other settings than the stage's own.
        """
        if isinstance(self.model, str) or not self.data.rows:
            return None
        run = run or self.spec.config
        lengths, images = self._lengths(self.model), self._images(self.model)
        longest = np.argsort(lengths)[-run.train.micro_batch_size :]
        tokens = lengths[longest].mean() if run.data.packing else lengths[longest].max()
        most = np.sort(images)[-run.train.micro_batch_size :].mean()
        return count_memory(
            self.model, run, self.spec.world.size, tokens=int(np.ceil(tokens)), images=int(np.ceil(most))
        )

    @property
    def hours(self) -> float | None:
        """At the assumed share of the peak; None where the peak is not known or is not bf16's."""
        flops = self.row_flops(again=False)
        peak = self.gpu.bf16_flops if self.gpu and self.spec.config.train.precision == "bf16" else None
        if flops is None or peak is None:
            return None
        samples = self.steps * self.spec.config.train.global_batch_size
        return flops * samples / (peak * self.spec.world.size * self.mfu) / 3600

    def _lengths(self, model: Anatomy) -> np.ndarray:
        return self.data.lengths(model.image_tokens)

    def _images(self, model: Anatomy) -> np.ndarray:
        return self.data.kept_images(model.image_tokens)

    def _of_run(self, of_rows: np.ndarray) -> int:
        """From a figure of each row to that of all steps."""
        samples = self.steps * self.spec.config.train.global_batch_size
        return round(float(of_rows.mean()) * samples) if len(of_rows) else 0

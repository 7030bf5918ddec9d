"""Tells the sampler where the run stands."""

from typing import Any

from transformers import TrainerCallback, TrainerState

from libmoe.data.sampler import EpochSampler


class DataOrder(TrainerCallback):
    """When it resumes inside an epoch, accelerate does not tell the sampler which; the step does."""

    def __init__(self, sampler: EpochSampler) -> None:
        self._sampler = sampler

    def on_epoch_begin(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        """Before the first batch of an epoch is asked for."""
        self._sampler.start_at(state.global_step)

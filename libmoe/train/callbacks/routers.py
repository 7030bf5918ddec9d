"""Tells the routers and their losses how far training is."""

from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerState

from libmoe.config.schema import MoEConfig
from libmoe.moe import after_step, set_aux_progress


class RouterSteps(TrainerCallback):
    """Every rank has one; what it sets depends on the step alone, so that a resumed run goes on as before."""

    def __init__(self, moe: MoEConfig) -> None:
        self._moe = moe

    def on_step_begin(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        """Before a step's first micro batch."""
        set_aux_progress(self._moe, state.global_step / state.max_steps)

    def on_step_end(self, _: Any, state: TrainerState, *__: Any, model: nn.Module, **___: Any) -> None:
        """The optimizer has moved; a checkpoint of this step is written later."""
        after_step(model, state.global_step / state.max_steps)

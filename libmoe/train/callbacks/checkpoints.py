"""Makes what the Trainer has saved a checkpoint under its final name."""

from typing import Any

from transformers import LlavaProcessor, TrainerCallback, TrainerState

from libmoe.train.checkpoint import Checkpoints
from libmoe.train.ranks import is_first


class CheckpointPublisher(TrainerCallback):
    """Adds the processor, so that a checkpoint loads as the final model does."""

    def __init__(self, checkpoints: Checkpoints, processor: LlavaProcessor) -> None:
        self._checkpoints = checkpoints
        self._processor = processor

    def on_save(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        """This rank has written its part."""
        if is_first():
            self._processor.save_pretrained(self._checkpoints.draft_of(state.global_step))
        self._checkpoints.publish(state.global_step)

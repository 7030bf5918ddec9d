"""Takes the facts of each batch off before the model sees it, and hands them to those who count."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from transformers import TrainerCallback

from libmoe.data.collator import BatchFacts

Listener = Callable[[BatchFacts], None]


class FactsTap(TrainerCallback):
    """``listeners`` hear of every micro batch before its forward pass."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def on_train_begin(self, *_: Any, model: nn.Module, **__: Any) -> None:
        """Starts listening at the model's door."""
        model.register_forward_pre_hook(self._take, with_kwargs=True)

    def _take(self, _: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        facts = kwargs.pop("facts")
        for listener in self._listeners:
            listener(facts)
        return args, kwargs

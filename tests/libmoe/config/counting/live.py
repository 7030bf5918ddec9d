"""How many bytes of tensors are alive at once while a model computes forward and backward."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from libmoe.model import LibmoeForConditionalGeneration


class _Live(TorchDispatchMode):
    """Counts what operations make, from its making to its end; ``known`` was there before."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self._known = known
        self._now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._meet(tensor.untyped_storage())
        self.peak = max(self.peak, self._now)
        return made

    def _meet(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self._now += storage.nbytes()
            weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._now -= size


def peak_bytes(model: LibmoeForConditionalGeneration, batch: dict[str, Tensor]) -> int:
    """Of one micro batch, beside the batch itself, parameters and their gradients."""
    there = [*model.parameters(), *model.buffers(), *batch.values()]
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
            there.append(parameter.grad)
    live = _Live({tensor.untyped_storage()._cdata for tensor in there})
    with live:
        model(**batch).loss.backward()
    return live.peak

"""What a layer hears of the one before it in the same forward pass, also when autograd computes it again.

A part of the model opens a trace for each of its forward passes. A layer leaves its logits there and takes
those of the layer before. Activation checkpointing calls a layer once more in the backward pass, when the
trace is long closed and others may have followed: whoever checkpoints therefore keeps the trace of the first
call (``remembering``) and hands out its values again. The gradient needs nothing more, since non-reentrant
checkpointing sends it through the first call's graph.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor

from libmoe.config.errors import ConfigError


class _Source(Protocol):
    def take(self, position: int) -> Tensor: ...

    def leave(self, position: int, logits_TE: Tensor) -> None: ...


class _Trace:
    """A first call. Keeps values without their graph, which would keep itself alive through its own trace."""

    def __init__(self) -> None:
        self.values: dict[int, Tensor] = {}
        self.tracked: dict[int, bool] = {}
        self.graph: dict[int, bool] = {}
        self._latest: Tensor | None = None

    def take(self, position: int) -> Tensor:
        self.graph[position] = torch.is_grad_enabled()
        latest, self._latest = self._latest, None
        assert latest is not None
        return latest

    def leave(self, position: int, logits_TE: Tensor) -> None:
        self.values[position], self.tracked[position] = logits_TE.detach(), logits_TE.requires_grad
        self._latest = logits_TE

    def close(self) -> None:
        self._latest = None


class _Replay:
    """A later call: the same values, and gradients wanted of the same ones."""

    def __init__(self, trace: _Trace) -> None:
        self._trace = trace

    def take(self, position: int) -> Tensor:
        if torch.is_grad_enabled() and not self._trace.graph[position]:
            raise ConfigError(
                "smoe_plus_plus needs activation checkpointing that is not reentrant: enable it with "
                "use_reentrant=False."
            )
        value = self._trace.values[position - 1].detach()
        return value.requires_grad_(self._trace.tracked[position - 1])

    def leave(self, position: int, logits_TE: Tensor) -> None:
        """The trace has them already."""


_current: ContextVar[_Source | None] = ContextVar("current", default=None)


def previous_logits(position: int) -> Tensor:
    """The logits that the layer before the ``position``-th left in this forward pass.

    Raises:
        ConfigError: there is no forward pass of the part around this one.
    """
    source = _current.get()
    if source is None:
        raise ConfigError(
            "A layer of smoe_plus_plus was computed apart from the layers before it: call the part of the "
            "model that holds it, and checkpoint with the model's own activation_checkpointing_enable."
        )
    return source.take(position)


def leave_logits(position: int, logits_TE: Tensor) -> None:
    """Leaves a layer's logits to the next; nothing where nobody listens."""
    source = _current.get()
    if source is not None:
        source.leave(position, logits_TE)


def open_trace(*_: Any) -> None:
    """A forward pass of a part begins; as a hook of the part."""
    _current.set(_Trace())


def close_trace(*_: Any) -> None:
    """It has ended, in whatever way."""
    trace = _current.get()
    _current.set(None)
    if isinstance(trace, _Trace):
        trace.close()


def remembering(checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """A checkpoint function (as torch's) whose later calls of its argument see the first call's trace."""

    def remembered(run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        trace = _current.get()
        if isinstance(trace, _Trace):
            run = _Remembering(run, trace)
        return checkpoint(run, *args, **kwargs)

    return remembered


class _Remembering:
    def __init__(self, run: Callable[..., Any], trace: _Trace) -> None:
        self._run, self._trace, self._again = run, trace, False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._again:
            self._again = True
            return self._run(*args, **kwargs)
        before = _current.set(_Replay(self._trace))
        try:
            return self._run(*args, **kwargs)
        finally:
            _current.reset(before)

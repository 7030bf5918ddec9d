"""Measures every step over all ranks and hands the record to the sinks."""

import operator
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers import TrainerCallback, TrainerState, TrainingArguments

from libmoe.config.schema import MoEConfig
from libmoe.data.collator import BatchFacts
from libmoe.moe import MoEMLP, aux_share
from libmoe.train.callbacks.record import Sink, StepRecord
from libmoe.train.ranks import gather
from libmoe.train.utilization import Utilization


@dataclass(frozen=True)
class Counts:
    """What is added up over micro batches, and over ranks."""

    tokens: float = 0
    """Without padding; image tokens included."""
    pairs: float = 0
    """Pairs of tokens of one row, which attention costs."""
    images: float = 0
    seen: float = 0
    """Micro batches that hold an image."""
    balance: float | torch.Tensor = 0.0
    z: float | torch.Tensor = 0.0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*map(operator.add, self.values(), other.values()))

    def values(self) -> list[Any]:
        """Every count, in the order above."""
        return [getattr(self, field.name) for field in fields(self)]


class Meter(TrainerCallback):
    """Every rank has one, for ranks add up what they counted; only the first has ``sinks``."""

    def __init__(self, moe: MoEConfig, sinks: Sequence[Sink], utilization: Utilization | None = None) -> None:
        self._moe = moe
        self._utilization = utilization
        self._sinks = sinks
        self._layers: list[MoEMLP] = []
        self._batch: BatchFacts | None = None
        self._counted = Counts()
        self._step: dict[str, Any] = {}
        self._clock = 0.0

    def hear(self, facts: BatchFacts) -> None:
        """A micro batch is about to be computed."""
        self._batch = facts

    def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
        """Starts the clock."""
        self._layers = list(model.moe_layers())
        self._clock = time.monotonic()

    def on_substep_end(self, *_: Any, **__: Any) -> None:
        """A micro batch that is not the step's last."""
        self._count()

    def on_step_end(self, args: TrainingArguments, *_: Any, **__: Any) -> None:
        """The step's last micro batch: what all ranks counted becomes the step's record, but for its loss."""
        self._count()
        everyone = gather([_memory(args.device), *map(float, self._counted.values())], args.device)
        total = Counts(*everyone[:, 1:].sum(0).tolist())
        now = time.monotonic()
        seconds = now - self._clock
        self._step = {
            "balance_loss": self._mean(total.balance, total.seen, self._moe.balance_coefficient),
            "z_loss": self._mean(total.z, total.seen, self._moe.z_coefficient),
            "tokens": int(total.tokens),
            "images": int(total.images),
            "seconds": seconds,
            "tokens_per_s": total.tokens / seconds,
            "mfu": self._utilization
            and self._utilization.share(total.tokens, total.pairs, total.images, seconds),
            "memory_bytes": int(everyone[:, 0].max()),
        }
        self._clock = now
        self._counted = Counts()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, *_: Any, logs: dict[str, Any], **__: Any
    ) -> None:
        """The Trainer has averaged the language loss over ranks and micro batches."""
        if "grad_norm" not in logs:
            return
        lm_loss = logs["loss"]
        aux = self._moe.balance_coefficient * (self._step["balance_loss"] or 0.0)
        aux += self._moe.z_coefficient * (self._step["z_loss"] or 0.0)
        record = StepRecord(
            step=state.global_step,
            loss=lm_loss + aux_share() * aux,
            lm_loss=lm_loss,
            lr=logs["learning_rate"],
            grad_norm=logs["grad_norm"],
            **self._step,
        )
        for sink in self._sinks:
            sink.write(record, state.max_steps)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Closes the sinks."""
        for sink in self._sinks:
            sink.close()

    def _count(self) -> None:
        assert self._batch is not None
        shown = self._batch.images > 0  # without an image, the layers have seen none of the data
        balance = [layer.balance_loss for layer in self._layers if shown and layer.balance_loss is not None]
        z = [layer.z_loss for layer in self._layers if shown and layer.z_loss is not None]
        batch = self._batch
        self._counted += Counts(batch.tokens, batch.pairs, batch.images, int(shown), sum(balance), sum(z))

    def _mean(self, summed: float | torch.Tensor, seen: float, coefficient: float) -> float | None:
        """A mean over the micro batches that hold an image; None where the loss has no part in training."""
        return float(summed) / seen if self._layers and coefficient > 0 and seen else None


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0

"""Whether a rank fits on its GPU, said before any process starts."""

from collections.abc import Iterator
from typing import Any

from entrypoint import console
from entrypoint.launch.estimate.forecast import Forecast
from libmoe.config.errors import ConfigError
from libmoe.config.schema import RunConfig

CONTEXT_BYTES = 2**30
"""What CUDA and NCCL take at least, beside what is counted."""
_TOLD = 2

Change = dict[str, Any]
"""Settings of ``train``, dotted, and their other values."""


def check_memory_fits(forecast: Forecast) -> None:
    """Does nothing where it fits, or where that is not known.

    Raises:
        ConfigError: it does not; names settings with which it would.
    """
    memory = forecast.memory()
    if forecast.gpu is None or memory is None or _fits(forecast, forecast.spec.config):
        return
    needed, there = console.size(memory.device + CONTEXT_BYTES), console.size(forecast.gpu.memory_bytes)
    raise ConfigError(
        f"Stage {forecast.spec.config.stage} does not fit: a rank needs about {needed}, and "
        f"{forecast.gpu.name} has {there}: {_advice(forecast)} (--force trains anyway)."
    )


def _advice(forecast: Forecast) -> str:
    fitting = [
        change for change in _changes(forecast) if _fits(forecast, with_changes(forecast.spec.config, change))
    ]
    if not fitting:
        return "take more GPUs, larger ones, or a smaller model"
    fewest = min(map(len, fitting))
    return " or ".join(_words(change) for change in [one for one in fitting if len(one) == fewest][:_TOLD])


def _changes(forecast: Forecast) -> Iterator[Change]:
    """What takes less memory, what costs the least time first: alone, then added up."""
    train, ranks = forecast.spec.config.train, forecast.spec.world.size
    single: list[Change] = []
    if not train.activation_checkpointing:
        single.append({"activation_checkpointing": True})
    shares = [
        micro
        for micro in range(train.micro_batch_size - 1, 0, -1)
        if train.global_batch_size % (micro * ranks) == 0
    ]
    if train.zero.stage < 3:
        single.append({"zero.stage": 3})
    if train.zero.stage and not train.zero.offload_optimizer:
        single.append({"zero.offload_optimizer": True})
    yield from ({"micro_batch_size": micro} for micro in shares)
    yield from single
    added: Change = {}
    for change in [
        *single,
        {"zero.stage": 3, "zero.offload_optimizer": True, "zero.offload_parameters": True},
    ]:
        added = added | change
        if len(added) > 1:
            yield dict(added)
        yield from (added | {"micro_batch_size": micro} for micro in shares)


def _fits(forecast: Forecast, run: RunConfig) -> bool:
    memory = forecast.memory(run)
    assert memory is not None
    assert forecast.gpu is not None
    return memory.device + CONTEXT_BYTES <= forecast.gpu.memory_bytes


def with_changes(run: RunConfig, change: Change) -> RunConfig:
    """The run with other values."""
    train = run.train
    for key, value in change.items():
        if key.startswith("zero."):
            zero = train.zero.model_copy(update={key.removeprefix("zero."): value})
            train = train.model_copy(update={"zero": zero})
        else:
            train = train.model_copy(update={key: value})
    return run.model_copy(update={"train": train})


def _words(change: Change) -> str:
    return " ".join(f"--set train.{key}={str(value).lower()}" for key, value in change.items())

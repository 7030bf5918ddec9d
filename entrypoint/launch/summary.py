"""A stage in a few figures: before it runs (``--dry-run``) and after."""

from collections.abc import Mapping, Sequence
from typing import Any

from entrypoint import console
from entrypoint.launch.estimate.costs import COUNTED, cells, costs
from entrypoint.launch.estimate.forecast import Forecast
from entrypoint.launch.metrics import read_metrics
from entrypoint.launch.nodes.settings import Place
from libmoe.config.run import RunSpec


def planned(forecast: Forecast, place: Place) -> dict[str, object]:
    """What would run, and which part of it here."""
    spec, gpu = forecast.spec, forecast.gpu
    train = spec.config.train
    offload = [part for part in ("optimizer", "parameters") if getattr(train.zero, f"offload_{part}")]
    return {
        "stage": spec.config.stage,
        "data": spec.annotations.name,
        "rows": forecast.data.rows,
        "rows_left_out": forecast.data.left_out,
        "trains": " ".join(train.trainable),
        "experts": spec.config.moe.name,
        "steps": forecast.steps,
        "tokens": forecast.tokens,
        "images": forecast.images,
        "global_batch_size": train.global_batch_size,
        "micro_batch_size": train.micro_batch_size,
        "accumulation_steps": spec.accumulation_steps,
        "ranks": f"{spec.world.size} {spec.world.device}",
        "nodes": place.sentence(),
        "zero": f"{train.zero.stage}" + (f", {' and '.join(offload)} offloaded" if offload else ""),
        "starts_from": _start(spec),
        "run_folder": str(spec.run_dir),
        **costs(forecast),
        "gpu": gpu.name if gpu else None,
        "gpu_memory_bytes": gpu.memory_bytes if gpu else None,
        "assumed_mfu": forecast.mfu if forecast.hours is not None else None,
        "hours": forecast.hours,
    }


def trained(spec: RunSpec) -> dict[str, object]:
    """What a finished stage did, from its metrics."""
    steps = read_metrics(spec.run_dir)
    return {
        "stage": spec.config.stage,
        "steps": steps[-1]["step"],
        "first_loss": steps[0]["loss"],
        "last_loss": steps[-1]["loss"],
        "seconds": sum(step["seconds"] for step in steps),
        "model": str(spec.model_dir),
    }


def table(stages: Sequence[Mapping[str, object]]) -> tuple[str, Sequence[str], Sequence[Sequence[str]]]:
    """A row a figure, a column a stage: the long values of a few stages read best so."""
    rows: list[tuple[str, ...]] = []
    for figure in stages[0]:
        values: list[Any] = [stage[figure] for stage in stages]
        if figure in COUNTED:
            rows += cells(figure, values)
        elif figure not in ("stage", "model") and any(value is not None for value in values):
            say = console.size if figure.endswith("_bytes") else _cell
            rows.append((figure.removesuffix("_bytes").replace("_", " "), *map(say, values)))
    return "Training", ("", *(str(stage["stage"]) for stage in stages)), rows


def _start(spec: RunSpec) -> str:
    if spec.resume_from:
        return str(spec.resume_from)
    if spec.init_from:
        return str(spec.init_from)
    return "base weights" if spec.config.model.language.weights else "random weights"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)

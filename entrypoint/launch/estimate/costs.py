"""What a stage will take, in figures with documented names (docs/counting.md)."""

from collections.abc import Mapping
from dataclasses import asdict

from entrypoint import console
from entrypoint.launch.estimate.forecast import Forecast
from libmoe.config.counting import count_parameters, forward_flops

COUNTED = ("parameters", "flops", "memory_bytes")


def costs(forecast: Forecast) -> dict[str, dict[str, int] | str | None]:
    """``parameters``, ``flops`` and ``memory_bytes`` of a rank.

    Of a model that is not known here they are None, and ``uncounted`` says why.
    """
    memory, row = forecast.memory(), forecast.row_flops(again=True)
    model_row = forecast.row_flops(again=False)
    if forecast.anatomy is None or memory is None or row is None or model_row is None:
        return {**dict.fromkeys(COUNTED), "uncounted": forecast.uncounted}
    counted = count_parameters(forecast.anatomy)
    run = forecast.spec.config
    tokens, batch = run.data.max_length, run.train.global_batch_size
    forward = forward_flops(forecast.anatomy, tokens, images=1)
    parts = ("vision", "connector", "language", "embeddings", "experts", "routers")
    return {
        "parameters": {
            "total": counted.total,
            "active": counted.active,
            **{part: getattr(counted, part) for part in parts},
        },
        "flops": {
            "forward_token": forward.language // tokens,
            "forward_image": forward.vision + forward.connector,
            "training_row": row,
            "training_step": row * batch,
            "training_run": row * batch * forecast.steps,
            "model_run": model_row * batch * forecast.steps,
        },
        "memory_bytes": {"device": memory.device, **asdict(memory)},
        "uncounted": None,
    }


def cells(figure: str, values: list[Mapping[str, int] | None]) -> list[tuple[str, ...]]:
    """Rows of a table: a name, then a cell a stage."""
    say = console.size if figure == "memory_bytes" else short
    names = next((list(value) for value in values if value is not None), [])
    words = figure.removesuffix("_bytes")
    return [
        (
            f"{words}: {name.replace('_', ' ')}",
            *("unknown" if one is None else say(one[name]) for one in values),
        )
        for name in names
    ]


def short(count: float) -> str:
    """A large number for a person.

    >>> short(3_821_079_552)
    '3.82 G'
    """
    for unit in ("", " k", " M", " G", " T", " P"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} E"

"""What a stage will take, counted from its settings alone (docs/counting.md)."""

from collections.abc import Mapping
from dataclasses import asdict

from entrypoint import console
from libmoe.config.counting import anatomy, count_memory, count_parameters, forward_flops, training_flops
from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec

COUNTED = ("parameters", "flops", "memory_bytes")


def costs(spec: RunSpec) -> dict[str, dict[str, int] | str | None]:
    """``parameters``, ``flops`` and ``memory_bytes`` of a rank.

    Of a model that is not known here they are None, and ``uncounted`` says why.
    """
    run, train = spec.config, spec.config.train
    try:
        model = anatomy(run.model, run.moe)
    except ConfigError as error:
        return {**dict.fromkeys(COUNTED), "uncounted": str(error)}
    counted = count_parameters(model)
    tokens = run.data.max_length
    forward = forward_flops(model, tokens, images=1)
    row = training_flops(model, train.trainable, train.activation_checkpointing, tokens, images=1).total
    memory = count_memory(model, run, spec.world.size)
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
            "training_step": row * train.global_batch_size,
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

"""Which layers of a part are meant: all, a list, a range or every n-th."""

import re
from typing import Annotated

from pydantic import BeforeValidator

from libmoe.config.errors import ConfigError

_FORMS = 'one of "all", a list such as [0, 2, 5], a range such as "4-11" (both included), or "every 2"'
_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")
_EVERY = re.compile(r"every\s+([1-9]\d*)")


def _known_form(value: object) -> object:
    if isinstance(value, str) and (value == "all" or _RANGE.fullmatch(value) or _EVERY.fullmatch(value)):
        return value
    if isinstance(value, list | tuple) and value and all(type(n) is int and n >= 0 for n in value):
        return value
    raise ValueError(f"layers are {_FORMS}")


LayerChoice = Annotated[str | tuple[int, ...], BeforeValidator(_known_form)]
"""``"all"``, ``[0, 2, 5]``, ``"4-11"`` or ``"every 2"`` (layers 0, 2, 4, ...); layers count from 0."""


def chosen_layers(choice: LayerChoice, count: int, setting: str) -> list[int]:
    """The chosen layers of ``count``, ascending.

    Args:
        setting: names the choice in errors, as ``moe.layers.vision``.

    Raises:
        ConfigError: the choice names a layer that is not there.
    """
    if not count:
        part = setting.rpartition(".")[2]
        raise ConfigError(f"No layer of {part} is computed that could get experts: take it out of moe.where.")
    chosen = _spelled_out(choice, count) if isinstance(choice, str) else sorted(set(choice))
    if not chosen or chosen[-1] >= count:
        raise ConfigError(
            f"{setting} is {choice if isinstance(choice, str) else list(choice)}, but the layers that are "
            f"computed are 0 to {count - 1}: choose among those."
        )
    return chosen


def _spelled_out(choice: str, count: int) -> list[int]:
    if span := _RANGE.fullmatch(choice):
        return list(range(int(span[1]), int(span[2]) + 1))
    step = _EVERY.fullmatch(choice)
    return list(range(0, count, int(step[1]) if step else 1))

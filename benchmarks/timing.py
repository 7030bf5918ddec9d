"""Contenders that take turns, so that a busy moment hits none alone, and ratios within their rounds."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Measured = TypeVar("Measured")


def paired(rounds: int, contenders: Mapping[str, Callable[[], Measured]]) -> dict[str, list[Measured]]:
    """What each contender measures, once a round; who begins changes from round to round."""
    names = list(contenders)
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            measured[name].append(contenders[name]())
    return measured


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over the rounds."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))

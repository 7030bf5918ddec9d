"""Expert load over time as an SVG heat map: a row an expert, a column a sampled step or several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from entrypoint.report.curves import LEFT, RIGHT, WIDTH

_ROW = 14
_COLUMNS = 80
_LEVELS = 4
"""Shades on each side of an even load; the last one is four times as much, or as little."""


@dataclass(frozen=True)
class Column:
    """Samples that are drawn as one: from which step to which, and each expert's mean load."""

    first: int
    last: int
    loads: Sequence[float]


def heat_map(title: str, loads: Sequence[tuple[int, Sequence[float]]]) -> str:
    """A figure of (step, load of each expert), load in shares of all assignments."""
    drawn = columns(loads)
    experts = len(drawn[0].loads)
    width = (WIDTH - LEFT - RIGHT) / len(drawn)
    rows = "".join(_row(expert, drawn, width) for expert in range(experts))
    height = experts * _ROW + 20
    ends = (
        f'<text class="tick" x="{LEFT}" y="{height - 4}">step {drawn[0].first}</text>'
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{height - 4}" text-anchor="end">{drawn[-1].last}</text>'
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{rows}{ends}</svg></figure>"
    )


def key() -> str:
    """What the shades mean."""
    cells = "".join(f'<i class="{_shade(shade)}"></i>' for shade in range(-_LEVELS, _LEVELS + 1))
    return f'<span class="shades">a quarter or less {cells} four times or more</span>'


def level(load: float, experts: int) -> int:
    """-4 (a quarter of the even share, or less) over 0 (even) to 4 (four times as much, or more).

    >>> [level(load, 4) for load in (0.25, 0.5, 1.0, 0.125, 0.0)]
    [0, 2, 4, -2, -4]
    """
    if load <= 0:
        return -_LEVELS
    return max(-_LEVELS, min(_LEVELS, round(2 * math.log2(load * experts))))


def columns(loads: Sequence[tuple[int, Sequence[float]]]) -> list[Column]:
    """Groups the samples, however many, into a few dozen columns at most, so that none goes unseen."""
    size = -(-len(loads) // _COLUMNS)
    groups = [loads[first : first + size] for first in range(0, len(loads), size)]
    return [
        Column(
            group[0][0],
            group[-1][0],
            [sum(one) / len(group) for one in zip(*(load for _, load in group), strict=True)],
        )
        for group in groups
    ]


def _row(expert: int, drawn: Sequence[Column], width: float) -> str:
    """Neighbours of one shade become one cell."""
    y = expert * _ROW
    cells = [f'<text class="tick" x="{LEFT - 6}" y="{y + 11}" text-anchor="end">{expert}</text>']
    start = 0
    for shade, run in groupby(drawn, lambda column: level(column.loads[expert], len(column.loads))):
        members = list(run)
        cells.append(
            f'<rect class="{_shade(shade)}" x="{LEFT + start * width:.1f}" y="{y}" '
            f'width="{len(members) * width:.1f}" height="{_ROW - 1}">'
            f"<title>expert {expert}, {_when(members)}: {_mean(expert, members):.1%}</title></rect>"
        )
        start += len(members)
    return "".join(cells)


def _when(members: Sequence[Column]) -> str:
    first, last = members[0].first, members[-1].last
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _mean(expert: int, members: Sequence[Column]) -> float:
    return sum(column.loads[expert] for column in members) / len(members)


def _shade(shade: int) -> str:
    return "even" if shade == 0 else f"{'more' if shade > 0 else 'less'} s{abs(shade)}"

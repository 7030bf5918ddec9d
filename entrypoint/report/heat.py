"""Expert load over time as an SVG heat map: a row an expert, a column a sampled step."""

import math
from collections.abc import Sequence
from html import escape
from itertools import groupby

from entrypoint.report.curves import LEFT, RIGHT, WIDTH

_ROW = 14
_COLUMNS = 80
_LEVELS = 4
"""Shades on each side of an even load; the last one is four times as much, or as little."""


def heat_map(title: str, loads: Sequence[tuple[int, Sequence[float]]]) -> str:
    """A figure of (step, load of each expert), load in shares of all assignments."""
    columns = _thinned(loads)
    experts = len(columns[0][1])
    width = (WIDTH - LEFT - RIGHT) / len(columns)
    rows = "".join(_row(expert, columns, width) for expert in range(experts))
    height = experts * _ROW + 20
    first, last = columns[0][0], columns[-1][0]
    ends = (
        f'<text class="tick" x="{LEFT}" y="{height - 4}">step {first}</text>'
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{height - 4}" text-anchor="end">{last}</text>'
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{rows}{ends}</svg></figure>"
    )


def level(load: float, experts: int) -> int:
    """-4 (a quarter of the even share, or less) over 0 (even) to 4 (four times as much, or more).

    >>> [level(load, 4) for load in (0.25, 0.5, 1.0, 0.125, 0.0)]
    [0, 2, 4, -2, -4]
    """
    if load <= 0:
        return -_LEVELS
    return max(-_LEVELS, min(_LEVELS, round(2 * math.log2(load * experts))))


def _row(expert: int, columns: Sequence[tuple[int, Sequence[float]]], width: float) -> str:
    """Neighbours of one shade become one cell."""
    y = expert * _ROW
    cells = [f'<text class="tick" x="{LEFT - 6}" y="{y + 11}" text-anchor="end">{expert}</text>']
    numbered = enumerate(columns)
    for shade, run in groupby(numbered, lambda one: level(one[1][1][expert], len(one[1][1]))):
        members = list(run)
        start, (step, load) = members[0][0], members[0][1]
        until = members[-1][1][0]
        when = f"step {step}" if step == until else f"steps {step} to {until}"
        cells.append(
            f'<rect class="{_shade(shade)}" x="{LEFT + start * width:.1f}" y="{y}" '
            f'width="{len(members) * width:.1f}" height="{_ROW - 1}">'
            f"<title>expert {expert}, {when}: {load[expert]:.1%}</title></rect>"
        )
    return "".join(cells)


def _shade(shade: int) -> str:
    return "even" if shade == 0 else f"{'more' if shade > 0 else 'less'} s{abs(shade)}"


def _thinned(loads: Sequence[tuple[int, Sequence[float]]]) -> list[tuple[int, Sequence[float]]]:
    every = -(-len(loads) // _COLUMNS)
    return list(loads[::every])

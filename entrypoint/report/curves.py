"""Line charts as SVG, coloured by the page's own light or dark palette."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from entrypoint.report.scale import Scale, short, spanning

WIDTH, HEIGHT = 460, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24
_BUCKETS = 320
_FAR = 5


@dataclass(frozen=True)
class Curve:
    """A named series of (step, value), in order of steps."""

    name: str
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Bucket:
    """Steps that are drawn as one point: their mean, and how far they spread."""

    step: float
    mean: float
    low: float
    high: float


def chart(title: str, curves: Sequence[Curve], falls: bool = False) -> str:
    """A figure with one or several curves.

    A long curve is drawn by the means of its steps, over a pale band from their least to their greatest.

    Args:
        falls: by powers of ten perhaps, and is then drawn on a log scale.
    """
    series = [(curve, buckets(curve.points)) for curve in curves if curve.points]
    values = [value for _, line in series for bucket in line for value in (bucket.low, bucket.high)]
    steps = [bucket.step for _, line in series for bucket in line]
    x = spanning_steps(steps)
    logarithmic = falls and min(values) > 0 and max(values) > _FAR * min(values)
    y = spanning(values, HEIGHT - BOTTOM, TOP, logarithmic)
    drawn = "".join(_line(line, x, y, number) for number, (_, line) in enumerate(series))
    legend = "".join(
        f'<span class="key c{number}" title="in the last step">{escape(curve.name)} '
        f"<b>{short(curve.points[-1][1])}</b></span>"
        for number, (curve, _) in enumerate(series)
    )
    return (
        f'<figure><figcaption>{escape(title)} <span class="legend">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{_axes(x, y)}{drawn}</svg></figure>"
    )


def spanning_steps(steps: Sequence[float]) -> Scale:
    """The horizontal axis, from the first step to the last."""
    return Scale(min(steps), max(steps), LEFT, WIDTH - RIGHT)


def buckets(points: Sequence[tuple[int, float]]) -> list[Bucket]:
    """Groups the steps, however many, into a few hundred points at most."""
    size = -(-len(points) // _BUCKETS)
    groups = (points[first : first + size] for first in range(0, len(points), size))
    return [
        Bucket(
            step=sum(step for step, _ in group) / len(group),
            mean=sum(value for _, value in group) / len(group),
            low=min(value for _, value in group),
            high=max(value for _, value in group),
        )
        for group in groups
    ]


def _line(line: Sequence[Bucket], x: Scale, y: Scale, number: int) -> str:
    path = " ".join(f"{x(bucket.step):.1f},{y(bucket.mean):.1f}" for bucket in line)
    band = ""
    if any(bucket.high > bucket.low for bucket in line):
        upper = [f"{x(bucket.step):.1f},{y(bucket.high):.1f}" for bucket in line]
        lower = [f"{x(bucket.step):.1f},{y(bucket.low):.1f}" for bucket in reversed(line)]
        band = f'<polygon class="band c{number}" points="{" ".join([*upper, *lower])}"/>'
    if len(line) == 1:
        return f'<circle class="dot c{number}" cx="{x(line[0].step):.1f}" cy="{y(line[0].mean):.1f}" r="3"/>'
    return f'{band}<polyline class="line c{number}" points="{path}"/>'


def _axes(x: Scale, y: Scale) -> str:
    rows = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{short(tick)}</text>'
        for tick in y.ticks()
    )
    columns = "".join(
        f'<text class="tick" x="{x(tick):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{short(tick)}</text>'
        for tick in (x.ticks() if x.high > x.low else [x.low])
        if tick == int(tick)
    )
    corner = f'<text class="tick" x="{LEFT - 6}" y="{HEIGHT - 6}" text-anchor="end">step</text>'
    return rows + columns + corner

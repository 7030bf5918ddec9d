"""From values to places on an axis, and where the axis has its ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TICKS = 5


@dataclass(frozen=True)
class Scale:
    """Maps values between ``low`` and ``high`` to pixels between ``start`` and ``end``."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, at = (self._position(number) for number in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values, a handful of them."""
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(powers) <= 3 else (1,)
            candidates = [step * 10.0**power for power in powers for step in steps]
            return [tick for tick in candidates if self.low <= tick <= self.high]
        step = _round((self.high - self.low) / _TICKS)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _position(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.logarithmic else value


def spanning(values: Sequence[float], start: float, end: float, logarithmic: bool = False) -> Scale:
    """A scale on which all values fit, with some air; a constant gets room around it."""
    low, high = min(values), max(values)
    if logarithmic:
        return Scale(low * 0.9, high * 1.1, start, end, logarithmic=True)
    air = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    bottom = 0.0 if 0 <= low < (high - low) * 0.5 else low - air
    return Scale(bottom, high + air, start, end)


def short(value: float) -> str:
    """A number as an axis shows it.

    >>> [short(number) for number in (0, 0.00002, 0.05, 3.0, 1500, 2_000_000)]
    ['0', '2e-05', '0.05', '3', '1.5k', '2M']
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _round(step: float) -> float:
    """1, 2 or 5 times a power of ten, hardly below the step."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.75)

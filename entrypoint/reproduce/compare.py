"""Two runs' steps side by side, number by number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COMPARED = ("loss", "lm_loss", "balance_loss", "z_loss", "lr", "grad_norm", "tokens", "images")
"""What a step leads to; how long it took is not among it."""


@dataclass(frozen=True)
class Comparison:
    """How far two runs are the same."""

    steps: int
    """How many were compared."""
    equal: int
    """How many are the same bit for bit, from the first one on."""
    worst: float
    """The largest relative difference of any number."""
    first: str
    """The first difference that exceeds the tolerance, in words; empty where there is none."""

    @property
    def same(self) -> bool:
        """Within the tolerance."""
        return not self.first


def compare(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]], tolerance: float) -> Comparison:
    """Compares the steps that ``before`` has.

    Args:
        tolerance: relative; 0 asks for every bit.
    """
    equal, worst, first = 0, 0.0, ""
    unbroken = True
    again = {step["step"]: step for step in now}
    for was in before:
        is_now = again.get(was["step"], {})
        apart = {key: _apart(was.get(key), is_now.get(key)) for key in COMPARED}
        unbroken = unbroken and not any(apart.values())
        equal += unbroken
        worst = max(worst, *apart.values())
        beyond = next((key for key, difference in apart.items() if difference > tolerance), None)
        if beyond and not first:
            first = f"step {was['step']}: {beyond} was {was.get(beyond)}, is {is_now.get(beyond)}"
    return Comparison(len(before), equal, worst, first)


def _apart(was: float | None, is_now: float | None) -> float:
    if was == is_now:
        return 0.0
    if was is None or is_now is None:
        return math.inf
    return abs(was - is_now) / max(abs(was), abs(is_now))

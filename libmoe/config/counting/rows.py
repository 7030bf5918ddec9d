"""Operations of many rows at once: they are linear in three sums over the rows."""

from collections.abc import Collection
from dataclasses import dataclass

from libmoe.config.counting.anatomy import Anatomy
from libmoe.config.counting.flops import training_flops
from libmoe.config.schema import Part


@dataclass(frozen=True)
class RowCosts:
    """What training costs, forward and backward."""

    token: int
    """Each token of a row."""
    pair: int
    """Each pair of tokens of one row, (i, j) and (j, i) and (i, i): attention."""
    image: int

    def of(self, tokens: int, pairs: int, images: int) -> int:
        """Of rows with so many tokens and images; ``pairs`` is the sum of the squares of their lengths."""
        return self.token * tokens + self.pair * pairs + self.image * images


def row_costs(model: Anatomy, trainable: Collection[Part], checkpointing: bool) -> RowCosts:
    """The three coefficients of ``training_flops``."""

    def flops(tokens: int, images: int) -> int:
        return training_flops(model, trainable, checkpointing, tokens, images).total

    one, two = flops(1, 0), flops(2, 0)
    pair = (two - 2 * one) // 2
    return RowCosts(one - pair, pair, flops(0, 1))

"""A linear map, the piece that nearly all parameters and operations are made of."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """y = W x + b."""

    inputs: int
    outputs: int
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Numbers in W and b."""
        return (self.inputs + self.bias) * self.outputs

    @property
    def flops(self) -> int:
        """Of one row: a multiplication and an addition for each weight; the bias is left out."""
        return 2 * self.inputs * self.outputs


def parameters(linears: Iterable[Linear]) -> int:
    """Of all of them."""
    return sum(linear.parameters for linear in linears)


def flops(linears: Iterable[Linear]) -> int:
    """Of one row through all of them."""
    return sum(linear.flops for linear in linears)

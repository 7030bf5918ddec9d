"""Experts: E copies of a dense MLP, stored as stacked tensors under the dense MLP's own parameter names."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from libmoe.config.errors import ConfigError
from libmoe.moe.grouped_linear import StackedLinear


class Experts(nn.Module, ABC):
    """Rows sorted by expert in, rows in the same order out: ``(A, in_features)`` to ``(A, out_features)``."""

    in_features: int

    @abstractmethod
    def forward(self, x_AD: Tensor, end_E: Tensor) -> Tensor:
        """Each row through its own expert, whose segment of rows ends at ``end_E[e]``."""


class MLPExperts(Experts):
    """``y = second(activation(first(x)))`` of an ungated MLP."""

    def __init__(self, dense: nn.Module, experts: int) -> None:
        super().__init__()
        linears = {name: child for name, child in dense.named_children() if isinstance(child, nn.Linear)}
        (self._first, first), (self._second, second) = linears.items()
        self.in_features = first.in_features
        self.add_module(self._first, StackedLinear(experts, first))
        self.activation = next(child for child in dense.children() if not isinstance(child, nn.Linear))
        self.add_module(self._second, StackedLinear(experts, second))

    def forward(self, x_AD: Tensor, end_E: Tensor) -> Tensor:
        h_AF = self.activation(self.get_submodule(self._first)(x_AD, end_E))
        return self.get_submodule(self._second)(h_AF, end_E)


def experts_like(dense: nn.Module, experts: int) -> Experts:
    """Stacked experts of the dense MLP's shape.

    Raises:
        ConfigError: the module is not an MLP of a known form.
    """
    children = [type(child) is nn.Linear for child in dense.children()]
    if sorted(children) == [False, True, True]:
        return MLPExperts(dense, experts)
    raise ConfigError(
        f"{type(dense).__name__} cannot become experts: only linear-activation-linear MLPs can; "
        "take its part of the model out of moe.where."
    )

"""Experts: E copies of a dense MLP, stored as stacked tensors under the dense MLP's own parameter names."""

from functools import partial

from torch import Tensor, nn

from libmoe.moe.forms import MLPForm, activation_of, form_of
from libmoe.moe.grouped_linear import StackedLinear


class Experts(nn.Module):
    """Rows sorted by expert in, rows in the same order out: ``(A, in_features)`` to ``(A, out_features)``."""

    def __init__(self, form: MLPForm, dense: nn.Module, experts: int) -> None:
        super().__init__()
        self.form = form
        for name in form.linears:
            like = dense.get_submodule(name)
            assert isinstance(like, nn.Linear)
            self.add_module(name, StackedLinear(experts, like))
        self.activation = activation_of(dense)
        self.in_features: int = self._linear(0).in_features
        self.hidden_features: int = self._linear(-1).in_features
        self.out_features: int = self._linear(-1).out_features

    def forward(self, x_AD: Tensor, end_E: Tensor) -> Tensor:
        """Each row through its own expert, whose segment of rows ends at ``end_E[e]``."""
        maps = [partial(self._linear(n), end_E=end_E) for n in range(len(self.form.linears))]
        return self.form.equation(x_AD, self.activation, *maps)

    def _linear(self, number: int) -> StackedLinear:
        linear = self.get_submodule(self.form.linears[number])
        assert isinstance(linear, StackedLinear)
        return linear


def experts_like(dense: nn.Module, experts: int) -> Experts:
    """Stacked experts of the dense MLP's form and shape.

    Raises:
        ConfigError: the module is not an MLP of a known form.
    """
    return Experts(form_of(dense), dense, experts)

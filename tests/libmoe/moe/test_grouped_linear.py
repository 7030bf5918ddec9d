"""The stacked linear layer against one ``nn.Linear`` an expert."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from libmoe.moe.grouped_linear import StackedLinear, segment_linear

END_E = torch.tensor([2, 2, 5], dtype=torch.int32)  # the second of three experts has no row
EXPERT_A = [0, 0, 2, 2, 2]


@pytest.mark.parametrize("bias", [True, False])
def test_each_row_meets_its_own_weights(bias: bool) -> None:
    layer = StackedLinear(3, nn.Linear(4, 6, bias=bias)).double()
    x_AI = torch.randn(5, 4, dtype=torch.float64)
    y_AO = layer(x_AI, END_E)
    for a, e in enumerate(EXPERT_A):
        expected = F.linear(x_AI[a], layer.weight[e], layer.bias[e] if bias else None)
        torch.testing.assert_close(y_AO[a], expected)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients(bias: bool) -> None:
    x_AI = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weight_EOI = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    bias_EO = torch.randn(3, 2, dtype=torch.float64, requires_grad=True) if bias else None
    assert gradcheck(lambda *inputs: segment_linear(*inputs, END_E), (x_AI, weight_EOI, bias_EO))


def test_initialised_as_linear_layers_are() -> None:
    layer = StackedLinear(50, nn.Linear(16, 8))
    assert layer.weight.abs().max() <= 0.25
    assert layer.weight.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.05)
    assert layer.bias.abs().max() <= 0.25

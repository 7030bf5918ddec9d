"""Sorting tokens to experts and back."""

import pytest
import torch
from torch.autograd import gradcheck

from libmoe.moe.dispatch import Segments

CHOSEN_TK = torch.tensor([[2, 0], [0, 3], [3, 2], [0, 2]])  # of five experts; 1 and 4 get nothing


@pytest.fixture
def segments() -> Segments:
    return Segments.of(CHOSEN_TK, experts=5)


def test_rows_are_sorted_by_expert_and_keep_their_order(segments: Segments) -> None:
    assert CHOSEN_TK.flatten()[segments.order_A].tolist() == [0, 0, 0, 2, 2, 2, 3, 3]
    assert (segments.order_A // 2).tolist() == [0, 1, 3, 0, 2, 3, 1, 2]
    assert segments.end_E.tolist() == [3, 3, 6, 8, 8]


def test_dispatch_copies_tokens_and_combine_undoes_it(segments: Segments) -> None:
    x_TD = torch.arange(8.0).view(4, 2)
    rows_AD = segments.dispatch(x_TD)
    assert torch.equal(rows_AD, x_TD[segments.order_A // 2])
    weight_TK = torch.tensor([[0.25, 0.75]] * 4)
    assert torch.equal(segments.combine(rows_AD, weight_TK), x_TD)


def test_combine_weighs_each_slot(segments: Segments) -> None:
    rows_AD = CHOSEN_TK.flatten()[segments.order_A].double().unsqueeze(-1)  # a row holds its expert's number
    weight_TK = torch.rand(4, 2, dtype=torch.float64)
    expected = (weight_TK * CHOSEN_TK).sum(1, keepdim=True)
    torch.testing.assert_close(segments.combine(rows_AD, weight_TK), expected)


def test_gradients(segments: Segments) -> None:
    x_TD = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    y_AD = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    weight_TK = torch.rand(4, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(segments.dispatch, x_TD)
    assert gradcheck(segments.combine, (y_AD, weight_TK))


def test_combine_keeps_the_type_and_sums_in_float32() -> None:
    segments = Segments.of(torch.tensor([[0, 1]]), experts=2)
    rows_AD = torch.tensor([[512.0], [-512.0]], dtype=torch.bfloat16)
    combined = segments.combine(rows_AD, torch.tensor([[0.50001, 0.49999]]))  # equal in bfloat16
    assert combined.dtype == torch.bfloat16
    assert combined.item() == pytest.approx(512 * 0.00002, rel=0.01)

"""The auxiliary losses against their equations."""

import pytest
import torch
from torch import Tensor

from libmoe.config.schema import MoEConfig
from libmoe.moe.losses import aux_share, balance_loss, ride, set_aux_progress, set_aux_scale, z_loss


def routed(batch: int = 2, tokens: int = 6, experts: int = 4, top_k: int = 2) -> tuple[Tensor, Tensor]:
    logits = torch.randn(
        batch, tokens, experts, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return logits.softmax(-1), logits.topk(top_k).indices


def test_balance_by_hand() -> None:
    # Two tokens, two of three experts each: f = (2, 1, 1) / 4; P = ((.5, .3, .2) + (.6, .1, .3)) / 2.
    p = torch.tensor([[[0.5, 0.3, 0.2], [0.6, 0.1, 0.3]]], dtype=torch.float64)
    loss = balance_loss(p, torch.tensor([[[0, 1], [0, 2]]]))
    assert loss.item() == pytest.approx(3 * (0.5 * 0.55 + 0.25 * 0.2 + 0.25 * 0.25), abs=1e-15)


def test_balance_is_one_when_even_and_the_number_of_experts_when_collapsed() -> None:
    even = torch.full((1, 4, 4), 0.25, dtype=torch.float64)
    assert balance_loss(even, torch.arange(4).view(1, 4, 1)).item() == 1
    collapsed = torch.zeros(1, 4, 4, dtype=torch.float64)
    collapsed[..., 2] = 1
    assert balance_loss(collapsed, torch.full((1, 4, 1), 2)).item() == 4


def test_balance_is_of_each_sequence() -> None:
    p, chosen = routed()
    each = [balance_loss(p[b : b + 1], chosen[b : b + 1]) for b in range(2)]
    torch.testing.assert_close(balance_loss(p, chosen), sum(each) / 2)
    joined = balance_loss(p.view(1, 12, 4), chosen.view(1, 12, 2))
    assert not torch.isclose(joined, sum(each) / 2)


def test_z_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    log2 = torch.tensor(2.0, dtype=torch.float64).log()
    torch.testing.assert_close(z_loss(logits), (log2**2 + (1 + log2) ** 2) / 2)


def test_gradients_of_both_losses() -> None:
    logits = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    chosen = logits.topk(2).indices
    assert torch.autograd.gradcheck(lambda g: balance_loss(g.softmax(-1), chosen), logits)
    assert torch.autograd.gradcheck(z_loss, logits)


def test_riding_loss_gets_the_scale_and_the_output_its_own_gradient() -> None:
    y = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    loss = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    set_aux_scale(0.5)
    try:
        assert torch.autograd.gradcheck(lambda y: ride(y, loss.detach()), y)
        assert torch.equal(ride(y, loss), y)
        ride(y, loss).square().sum().backward()
    finally:
        set_aux_scale(1.0)
    torch.testing.assert_close(y.grad, 2 * y.detach())
    assert loss.grad.item() == 0.5


def test_what_an_expert_costs_weighs_its_term() -> None:
    p, chosen = routed()
    cost = torch.tensor([1.0, 1.0, 0.75, 0.0], dtype=torch.float64)
    load = torch.stack([(chosen == e).double().mean((1, 2)) for e in range(4)], -1)
    expected = 4 * (cost * load * p.mean(1)).sum(-1).mean()
    torch.testing.assert_close(balance_loss(p, chosen, cost), expected)


@pytest.mark.parametrize(
    ("schedule", "share", "expected"),
    [
        ("constant", 0.5, [1.0, 1.0, 1.0, 1.0]),
        ("warmup", 0.5, [0.0, 0.5, 1.0, 1.0]),
        ("decay", 0.5, [1.0, 1.0, 1.0, 0.5]),
        ("warmup", 0.0, [1.0, 1.0, 1.0, 1.0]),
        ("decay", 0.0, [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_coefficients_follow_their_schedule(schedule: str, share: float, expected: list[float]) -> None:
    settings = MoEConfig(aux_schedule=schedule, aux_schedule_share=share)
    try:
        shares = []
        for progress in (0.0, 0.25, 0.5, 0.75):
            set_aux_progress(settings, progress)
            shares.append(aux_share())
    finally:
        set_aux_progress(MoEConfig(), 0.0)
    assert shares == pytest.approx(expected)


def test_a_schedule_leaves_an_algorithms_own_loss_alone() -> None:
    set_aux_progress(MoEConfig(aux_schedule="warmup"), 0.0)
    set_aux_scale(0.25)
    try:
        y, own, scheduled = (torch.ones((), requires_grad=True) for _ in range(3))
        ride(ride(y, own, scheduled=False), scheduled).backward()
    finally:
        set_aux_progress(MoEConfig(), 0.0)
        set_aux_scale(1.0)
    assert own.grad.item() == 0.25
    assert scheduled.grad.item() == 0

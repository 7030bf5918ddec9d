"""What routers did, compared with a loop over tokens; counted once whatever runs around the layer."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP, Routing
from libmoe.moe.statistics import LayerSummary, RouterStatistics, collect

MakeLayer = Callable[..., MoEMLP]


def alone(statistics: RouterStatistics) -> LayerSummary:
    """The summary of a model that is one layer."""
    (only,) = statistics.summary().values()
    return only


def routed(layer: MoEMLP, x: Tensor) -> Routing:
    return layer.router.choose(layer.router(x.flatten(0, -2)))


@pytest.mark.parametrize("name", ["smoe", "smoe_sigmoidgating", "xmoe"])
def test_figures_are_those_of_a_loop_over_tokens(make_layer: MakeLayer, x: Tensor, name: str) -> None:
    layer = make_layer(name=name)
    with collect(layer) as statistics:
        layer(x)
    ours, by_hand = alone(statistics), routed(layer, x)
    took = [set(row) for row in by_hand.expert_TK.tolist()]
    p = by_hand.logits_TE.softmax(-1)
    best = [row.sort(descending=True).values.tolist() for row in p]
    assert ours.tokens == 10
    assert ours.load == [sum(e in row for row in took) / 20 for e in range(4)]
    assert ours.top1 == [sum(row[0] == e for row in by_hand.expert_TK.tolist()) / 10 for e in range(4)]
    for i in range(4):
        pairs = [sum({i, j} <= row for row in took) / 10 for j in range(4)]
        assert ours.coactivation[i] == pytest.approx(pairs)
    assert ours.entropy == pytest.approx(-(p * p.log()).sum(-1).mean().item())
    assert ours.margin == pytest.approx(sum(row[1] - row[2] for row in best) / 10)
    assert ours.z == pytest.approx(by_hand.logits_TE.logsumexp(-1).square().mean().item())
    assert (ours.null_share, ours.dropped_share) == (0.0, 0.0)


def test_even_and_collapsed_routing(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(top_k=1)
    with torch.no_grad():
        layer.router.weight.zero_()
        with collect(layer) as statistics:
            layer(x)
        assert alone(statistics).entropy == pytest.approx(math.log(4))
        assert alone(statistics).margin == 0
        layer.router.weight[2] = 1000.0
        with collect(layer) as statistics:
            layer(x.abs())
    collapsed = alone(statistics)
    assert collapsed.load == collapsed.top1 == [0, 0, 1, 0]
    assert collapsed.entropy == pytest.approx(0)
    assert collapsed.margin == pytest.approx(1)


@pytest.mark.parametrize("compat", ["published", "upstream"])
def test_shared_expert_is_no_choice(make_layer: MakeLayer, x: Tensor, compat: str) -> None:
    layer = make_layer(name="smoe_share", top_k=3, compat=compat)
    with collect(layer) as statistics:
        layer(x)
    ours, by_hand = alone(statistics), routed(layer, x)
    assert ours.load[0] == pytest.approx(1 / 3)
    assert ours.coactivation[0][0] == 1
    assert ours.top1[0] == 0
    assert ours.top1 == [sum(row[1] == e for row in by_hand.expert_TK.tolist()) / 10 for e in range(4)]
    best = by_hand.probability_TE.sort(-1, descending=True).values
    assert ours.margin == pytest.approx((best[:, 1] - best[:, 2]).mean().item())


def test_null_slots_are_a_share_of_their_own(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(name="smoe_tcmoe", top_k=2)
    with torch.no_grad():
        layer.router.weight[8] = 50 * x[0, 0] / x[0, 0].norm() ** 2  # the first token's best column is null
        layer.router.weight[9] = 40 * x[0, 0] / x[0, 0].norm() ** 2  # and so is its second
        with collect(layer) as statistics:
            layer(x)
    ours, by_hand = alone(statistics), routed(layer, x)
    assert by_hand.dropped_TK[0].all()
    nulls = int(by_hand.dropped_TK.sum())
    assert ours.null_share == nulls / 20
    assert ours.dropped_share == by_hand.dropped_TK.all(-1).sum().item() / 10
    counted = [(by_hand.expert_TK == e).sum().item() for e in range(4)]
    assert ours.load == [count / (20 - nulls) for count in counted]
    assert sum(ours.top1) == pytest.approx(1)


def test_a_token_that_takes_an_expert_and_its_negative_is_one_token(make_layer: MakeLayer) -> None:
    statistics = RouterStatistics(make_layer())
    logits = torch.zeros(2, 4)
    statistics.hear("", Routing(torch.tensor([[1, 1], [0, 1]]), torch.ones(2, 2), logits, logits.softmax(-1)))
    ours = alone(statistics)
    assert ours.load == [0.25, 0.75, 0, 0]
    assert ours.coactivation[1] == [0.5, 1, 0, 0]


def test_a_negative_weight_is_as_heavy_as_a_positive_one(make_layer: MakeLayer) -> None:
    statistics = RouterStatistics(make_layer())
    logits = torch.zeros(1, 4)
    statistics.hear("", Routing(torch.tensor([[1, 3]]), torch.tensor([[0.3, -0.7]]), logits, logits.exp()))
    assert alone(statistics).top1 == [0, 0, 0, 1]


@pytest.mark.parametrize(("name", "sharper"), [("xmoe", 1 / 0.3), ("smoe_tcmoe", 1.0)])
def test_p_is_what_the_router_chooses_by(make_layer: MakeLayer, x: Tensor, name: str, sharper: float) -> None:
    """As upstream, whose z-loss reads logits without temperature and bias."""
    layer = make_layer(name=name, compat="upstream")
    with collect(layer) as statistics:
        layer(x)
    g = layer.router(x.flatten(0, 1))
    p = (g * sharper if name == "xmoe" else layer.router.biased(g)).softmax(-1)
    best = p.sort(-1, descending=True).values
    ours = alone(statistics)
    assert ours.entropy == pytest.approx(-(p * p.log()).sum(-1).mean().item())
    assert ours.margin == pytest.approx((best[:, 1] - best[:, 2]).mean().item())
    assert ours.z == pytest.approx(g.logsumexp(-1).square().mean().item())


def test_experts_that_choose_leave_tokens_out(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(name="expert_choice", top_k=1)
    with torch.no_grad():
        layer.router.weight[:] = layer.router.weight[:1]  # all experts want the same tokens
    with collect(layer) as statistics:
        layer(x)
    ours = alone(statistics)
    assert ours.load == [0.25] * 4
    assert ours.dropped_share == pytest.approx(0.6)  # of five tokens, two are taken
    assert ours.coactivation == [[pytest.approx(0.4)] * 4] * 4


def test_cheap_experts_are_null(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(name="smoe_plus_plus", top_k=2)
    with torch.no_grad():
        layer.router.weight[4:] *= 100
        layer.router.opened.fill_(1000)
    model = nn.Sequential(layer)
    with collect(model) as statistics:
        model(x)
    ours = alone(statistics)
    assert ours.null_share > 0.3
    assert sum(ours.load) == pytest.approx(1)


def test_all_experts_chosen_leave_no_margin(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(top_k=4)
    with collect(layer) as statistics:
        layer(x)
    assert alone(statistics).margin is None


@pytest.mark.parametrize("shape", [(0, 5, 8), (1, 0, 8)])
def test_no_token_says_nothing(make_layer: MakeLayer, shape: tuple[int, ...]) -> None:
    layer = make_layer()
    with collect(layer) as statistics:
        layer(torch.zeros(shape, dtype=torch.float64))
    ours = alone(statistics)
    assert (ours.tokens, ours.load, ours.entropy, ours.null_share) == (0, [0] * 4, None, None)


def test_a_token_that_is_no_number_spoils_no_mean(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    with collect(layer) as clean:
        layer(x[:, 1:])
    x[:, 0] = float("nan")
    with collect(layer) as dirty:
        layer(x)
    assert alone(dirty).tokens == 10
    assert alone(dirty).entropy == pytest.approx(alone(clean).entropy)
    assert alone(dirty).margin == pytest.approx(alone(clean).margin)
    assert alone(dirty).z == pytest.approx(alone(clean).z)


def test_one_infinite_logit_spoils_no_mean(make_layer: MakeLayer) -> None:
    statistics = RouterStatistics(make_layer())
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, math.inf, 0.0, 0.0]])
    statistics.hear("", Routing(torch.tensor([[0], [1]]), torch.ones(2, 1), logits, logits.softmax(-1)))
    ours = alone(statistics)
    assert (ours.tokens, ours.margin) == (2, 0)
    assert (ours.entropy, ours.z) == (pytest.approx(math.log(4)), pytest.approx(math.log(4) ** 2))


def test_autocast_rounds_no_count(make_layer: MakeLayer) -> None:
    layer = make_layer()
    tokens = torch.randn(1, 1111, 8, dtype=torch.float64)
    with collect(layer) as statistics, torch.autocast("cpu", torch.bfloat16):
        statistics.hear("", routed(layer, tokens))
    ours = alone(statistics)
    assert [ours.coactivation[e][e] / 2 for e in range(4)] == pytest.approx(ours.load, abs=1e-12)


def test_a_compiled_layer_is_heard(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    compiled = torch.compile(layer, backend="eager", dynamic=False)
    compiled(x)
    with collect(layer) as statistics:
        compiled(x)
    compiled(x)
    assert alone(statistics).tokens == 10


def test_an_error_ends_the_listening(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    with pytest.raises(RuntimeError, match="shape"), collect(layer):
        layer(x[..., :3])
    assert "route" not in vars(layer.router)


def test_a_router_on_another_device_is_heard(make_layer: MakeLayer, x: Tensor) -> None:
    layer, router = make_layer().to("meta"), make_layer().router
    statistics = RouterStatistics(layer)
    for tokens in x:
        statistics.hear("", router.choose(router(tokens)))
    assert statistics._flat().is_meta


def test_a_dense_model_has_no_figures() -> None:
    with collect(nn.Linear(2, 2)) as statistics:
        pass
    assert statistics.summary() == {}


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_layers_count_once(make_layer: MakeLayer, x: Tensor, reentrant: bool) -> None:
    layer = make_layer()
    x.requires_grad_()
    with collect(layer) as statistics:
        checkpoint(layer, x, use_reentrant=reentrant).sum().backward()
    assert alone(statistics).tokens == 10


def test_micro_batches_add_up(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    with collect(layer) as whole:
        layer(x)
    with collect(layer) as parts:
        for row in x:
            layer(row).sum().backward()
    ours, theirs = alone(parts), alone(whole)
    assert ours.entropy == pytest.approx(theirs.entropy)
    assert (ours.tokens, ours.load, ours.top1) == (theirs.tokens, theirs.load, theirs.top1)
    assert ours.coactivation == theirs.coactivation


def test_listening_changes_nothing_and_ends(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    silent = layer(x)
    with collect(layer) as outer:
        with collect(layer) as inner:
            heard = layer(x)
        layer(x)
    layer(x)
    assert torch.equal(heard, silent)
    assert (alone(inner).tokens, alone(outer).tokens) == (10, 20)
    assert "route" not in vars(layer.router)


def test_ignored_layers_do_not_count(make_layer: MakeLayer, x: Tensor) -> None:
    model = nn.Sequential(make_layer(), make_layer())
    with collect(model) as statistics:
        model(x)
        statistics.ignored = frozenset({"0"})
        model(x)
    assert {path: layer.tokens for path, layer in statistics.summary().items()} == {"0": 10, "1": 20}


@pytest.mark.parametrize("name", ["smoe", "smoe_share", "smoe_tcmoe", "xmoe"])
def test_listening_never_asks_the_device(make_layer: MakeLayer, name: str) -> None:
    """The meta device has no values, so whatever waits for one fails."""
    layer = make_layer(name=name).to("meta")
    statistics = RouterStatistics(layer)
    for _ in range(2):
        statistics.hear("", layer.router.choose(layer.router(torch.empty(7, 8, device="meta"))))
    assert statistics._flat().is_meta


def _count_on(rank: int, store: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    dense = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))
    layer = MoEMLP(dense, MoEConfig(name="smoe", experts=4, top_k=2))
    with collect(layer) as statistics:
        if rank == 0:
            layer(torch.randn(2, 6, 8))
    statistics.all_reduce()
    torch.save(alone(statistics), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_ranks_agree_though_one_saw_nothing(tmp_path: Path) -> None:
    mp.spawn(_count_on, (str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1))
    assert first == second
    assert first.tokens == 12
    assert sum(first.load) == pytest.approx(1)

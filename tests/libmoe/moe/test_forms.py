"""Dense MLPs of transformers are recognised by what they compute, and their experts compute the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, FalconH1Config, LlamaConfig, Phi3Config
from transformers.models.clip.modeling_clip import CLIPMLP
from transformers.models.falcon_h1.modeling_falcon_h1 import FalconH1MLP
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.phi3.modeling_phi3 import Phi3MLP

from libmoe.config.errors import ConfigError
from libmoe.moe.experts import experts_like
from libmoe.moe.forms import form_of

SIZES = {"hidden_size": 8, "intermediate_size": 12}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 2}


class SwappedGate(nn.Module):
    """A gated MLP whose names and order are nobody's."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(12, 8)
        self.wide = nn.Linear(8, 12)
        self.narrow = nn.Linear(8, 12, bias=False)
        self.squash = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.squash(self.narrow(x)) * self.wide(x))


class UpFirst(nn.Module):
    """A fused gated MLP that holds the gate below, unlike all that are known."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.down, self.act = nn.Linear(8, 24), nn.Linear(12, 8), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        up, gate = self.both(x).chunk(2, dim=-1)
        return self.down(self.act(gate) * up)


class Scaled(nn.Module):
    """Learns a factor, which is 1 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.act = nn.Linear(8, 12), nn.Linear(12, 8), nn.SiLU()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.down(self.act(self.up(x)))


class Dropping(nn.Module):
    """Drops hidden units in training, by a function that no child module tells of."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.act = nn.Linear(8, 12), nn.Linear(12, 8), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.down(nn.functional.dropout(self.act(self.up(x)), 0.2, self.training))


DENSE: dict[str, Callable[[], nn.Module]] = {
    "quick_gelu": lambda: CLIPMLP(CLIPVisionConfig(**SIZES, num_attention_heads=2, hidden_act="quick_gelu")),
    "fused": lambda: Phi3MLP(Phi3Config(**SIZES, **HEADS, pad_token_id=0)),
    "gated": lambda: LlamaMLP(LlamaConfig(**SIZES, **HEADS)),
    "gated with bias": lambda: LlamaMLP(LlamaConfig(**SIZES, **HEADS, mlp_bias=True)),
    "sequential": lambda: nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8)),
    "swapped": SwappedGate,
}
END_E = torch.tensor([3, 3, 7], dtype=torch.int32)


@pytest.mark.parametrize("kind", DENSE)
def test_each_segment_goes_through_its_own_dense_mlp(kind: str) -> None:
    copies = [DENSE[kind]().double() for _ in range(3)]
    experts = experts_like(copies[0], 3).double()
    states = [copy.state_dict() for copy in copies]
    experts.load_state_dict({name: torch.stack([state[name] for state in states]) for name in states[0]})
    assert (experts.in_features, experts.hidden_features, experts.out_features) == (8, 12, 8)
    x = torch.randn(7, 8, dtype=torch.float64, requires_grad=True)
    mine = experts(x, END_E)
    theirs = torch.cat([copies[0](x[:3]), copies[2](x[3:])])
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
    upstream = torch.randn_like(mine)
    (mine_x,) = torch.autograd.grad((mine * upstream).sum(), x, retain_graph=True)
    (their_x,) = torch.autograd.grad((theirs * upstream).sum(), x, retain_graph=True)
    torch.testing.assert_close(mine_x, their_x)
    (mine * upstream).sum().backward()
    (theirs * upstream).sum().backward()
    for name, stacked in experts.named_parameters():
        assert stacked.grad is not None
        torch.testing.assert_close(stacked.grad[2], copies[2].get_parameter(name).grad)
        assert not stacked.grad[1].any()


def test_names_do_not_matter() -> None:
    assert form_of(SwappedGate()).linears == ("narrow", "wide", "out")
    with torch.device("meta"):
        assert form_of(DENSE["fused"]()).linears == ("gate_up_proj", "down_proj")


@pytest.mark.parametrize(
    "dense",
    [
        UpFirst(),
        FalconH1MLP(FalconH1Config(**SIZES, mlp_multipliers=[2.0, 0.5])),  # scales where nobody sees it
        nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Dropout(0.1), nn.Linear(12, 8)),
        nn.Sequential(nn.Linear(8, 12), nn.PReLU(), nn.Linear(12, 8)).double(),
        Scaled(),
        Dropping(),
        nn.Linear(8, 8),
    ],
    ids=lambda dense: type(dense).__name__,
)
def test_whatever_computes_something_else_is_refused(dense: nn.Module) -> None:
    with pytest.raises(ConfigError, match=rf"{type(dense).__name__} cannot become experts"):
        form_of(dense)


@pytest.mark.parametrize("kind", DENSE)
def test_units_are_what_can_be_permuted(kind: str) -> None:
    dense = DENSE[kind]().double()
    form, x = form_of(dense), torch.randn(5, 8, dtype=torch.float64)
    before, order = dense(x), torch.randperm(12)
    for name, parameter in dense.named_parameters():
        for view in form.unit_views(name, parameter.data):
            view.copy_(view[order].clone())
    torch.testing.assert_close(dense(x), before)

"""Upstream's balance loss: f_e counts the best expert of each token alone, as Switch's does."""

from dataclasses import replace

from torch import Tensor

from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.smoe import SoftmaxRouter
from libmoe.moe.routers.smoe_share import SharedExpertRouter
from libmoe.moe.routers.smoe_sharev3 import SigmoidSharedExpertRouter
from libmoe.moe.routers.smoe_sigmoidgating import SigmoidRouter


def first_slot(routing: Routing) -> Routing:
    """The same decision, of which the balance loss sees the first slot (of the routed experts)."""
    slots_TK = routing.expert_TK if routing.balanced_TK is None else routing.balanced_TK
    return replace(routing, balanced_TK=slots_TK[:, :1])


@register_router("smoe", compat="upstream")
class UpstreamSoftmaxRouter(SoftmaxRouter):
    """``smoe`` but for its balance loss."""

    def choose(self, logits_TE: Tensor) -> Routing:
        return first_slot(super().choose(logits_TE))


@register_router("smoe_sigmoidgating", compat="upstream")
class UpstreamSigmoidRouter(SigmoidRouter):
    """``smoe_sigmoidgating`` but for its balance loss."""

    def choose(self, logits_TE: Tensor) -> Routing:
        return first_slot(super().choose(logits_TE))


@register_router("smoe_share", compat="upstream")
class UpstreamSharedExpertRouter(SharedExpertRouter):
    """``smoe_share`` but for its balance loss. Upstream's files hold the shared expert last, not first."""

    def choose(self, logits_TE: Tensor) -> Routing:
        return first_slot(super().choose(logits_TE))


@register_router("smoe_sharev3", compat="upstream")
class UpstreamSigmoidSharedExpertRouter(SigmoidSharedExpertRouter):
    """``smoe_sharev3`` but for its balance loss. Upstream's files hold the shared expert last, not first."""

    def choose(self, logits_TE: Tensor) -> Routing:
        return first_slot(super().choose(logits_TE))

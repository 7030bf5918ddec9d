"""Mixture-of-experts layers: routers, dispatch, stacked experts, losses and sparse upcycling."""

from libmoe.moe.chain import chain
from libmoe.moe.layer import MoEMLP, after_step, moe_layers
from libmoe.moe.losses import aux_share, set_aux_progress, set_aux_scale
from libmoe.moe.routers import Router, Routing, register_router
from libmoe.moe.trace import remembering
from libmoe.moe.upcycle import upcycle

__all__ = [
    "MoEMLP",
    "Router",
    "Routing",
    "after_step",
    "aux_share",
    "chain",
    "moe_layers",
    "register_router",
    "remembering",
    "set_aux_progress",
    "set_aux_scale",
    "upcycle",
]

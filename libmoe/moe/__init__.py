"""Mixture-of-experts layers: routers, dispatch, stacked experts, losses and sparse upcycling."""

from libmoe.moe.layer import MoEMLP, moe_layers
from libmoe.moe.losses import set_aux_scale
from libmoe.moe.routers import Router, Routing, register_router
from libmoe.moe.upcycle import upcycle

__all__ = [
    "MoEMLP",
    "Router",
    "Routing",
    "moe_layers",
    "register_router",
    "set_aux_scale",
    "upcycle",
]

"""Routing algorithms, one file each; importing this package registers them."""

from libmoe.moe.routers import (
    aux_free,
    expert_choice,
    smoe,
    smoe_plus_plus,
    smoe_share,
    smoe_sharev3,
    smoe_sigmoidgating,
    smoe_tcmoe,
    upstream,
    xmoe,
)
from libmoe.moe.routers.interface import Router, Routing
from libmoe.moe.routers.registry import make_router, register_router

__all__ = [
    "Router",
    "Routing",
    "aux_free",
    "expert_choice",
    "make_router",
    "register_router",
    "smoe",
    "smoe_plus_plus",
    "smoe_share",
    "smoe_sharev3",
    "smoe_sigmoidgating",
    "smoe_tcmoe",
    "upstream",
    "xmoe",
]

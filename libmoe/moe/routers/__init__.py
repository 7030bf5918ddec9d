"""Routing algorithms, one file each; importing this package registers them."""

from libmoe.moe.routers import smoe, smoe_share, smoe_sharev3, smoe_sigmoidgating, smoe_tcmoe, xmoe
from libmoe.moe.routers.interface import Router, Routing, make_router, register_router

__all__ = [
    "Router",
    "Routing",
    "make_router",
    "register_router",
    "smoe",
    "smoe_share",
    "smoe_sharev3",
    "smoe_sigmoidgating",
    "smoe_tcmoe",
    "xmoe",
]

"""Routing algorithms, one file each; importing this package registers them."""

from libmoe.moe.routers import smoe
from libmoe.moe.routers.interface import Router, Routing, make_router, register_router

__all__ = ["Router", "Routing", "make_router", "register_router", "smoe"]

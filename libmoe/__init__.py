"""Vision-language mixture-of-experts models: settings, layers, model, data and training.

Importing the package is light; the names below load what they need when they are first used.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Captioner": "libmoe.captioner",
    "LibmoeConfig": "libmoe.model",
    "LibmoeForConditionalGeneration": "libmoe.model",
    "MoEMLP": "libmoe.moe",
    "register_router": "libmoe.moe",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

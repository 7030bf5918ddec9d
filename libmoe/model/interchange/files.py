"""Upstream's files as tensors by name, mapped from disk."""

import re
from pathlib import Path

from torch import Tensor

from libmoe.config.errors import ConfigError
from libmoe.model.interchange.names import CONNECTOR, TOWER
from libmoe.model.tensor_files import has_weights, read_bin, read_weights

ADAPTERS = {
    "mm_projector.bin": (CONNECTOR, CONNECTOR),
    "clip.bin": (TOWER, "vision_model."),
}
"""Connector and tower, which upstream's dense stages save beside the whole model or without one: how the
names begin in the whole model, and how in the file."""

_PREFIXES = {
    r"(model\.)?mm_projector\.": CONNECTOR,
    r"(model\.vision_tower\.)?vision_model\.": TOWER,
}
"""How a part's names begin in the files that hold it, and how in the whole model."""


def read_upstream(folder: Path) -> dict[str, Tensor]:
    """All tensors of upstream's folder under the names of its whole model.

    What an adapter's file holds wins, as where upstream loads them.

    Raises:
        ConfigError: the folder holds no weights, or lacks a file that its index names.
        DataError: a file is damaged, or holds code instead of tensors.
    """
    state = read_weights(folder) if has_weights(folder) else {}
    for name in ADAPTERS:
        if (folder / name).is_file():
            state |= read_bin(folder / name)
    if not state:
        raise ConfigError(
            f"{folder} holds no weights: give the folder that holds upstream's *.safetensors, "
            f"pytorch_model*.bin or {' and '.join(ADAPTERS)}."
        )
    return {_in_whole_model(name): tensor for name, tensor in state.items()}


def _in_whole_model(name: str) -> str:
    for pattern, prefix in _PREFIXES.items():
        if found := re.match(pattern, name):
            return prefix + name[found.end() :]
    return name

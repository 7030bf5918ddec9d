"""Sparse upcycling (arXiv:2212.05055) of a dense checkpoint, tensor by tensor and without copying any."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from libmoe.moe.layer import MoEMLP, moe_layers
from libmoe.moe.seeding import derived_seed


def upcycle(dense: Mapping[str, Tensor], model: nn.Module, seed: int) -> dict[str, Tensor]:
    """The state that ``model`` starts from when ``dense`` is the state of the same model without experts.

    Every expert is the dense MLP (an expanded view of its tensors); routers are drawn from a generator seeded
    by ``seed`` and the layer's path, so that neither rank nor order matters. With weights that sum to one the
    model then computes what the dense one does.

    Args:
        model: only its layers' paths and shapes are read; it may live on the meta device.
    """
    layers = dict(moe_layers(model))
    state: dict[str, Tensor] = {}
    for name, tensor in dense.items():
        path = _layer_of(name, layers)
        if path is None:
            state[name] = tensor
        else:
            experts = layers[path].router.experts
            state[f"{path}.experts{name[len(path) :]}"] = tensor.expand(experts, *tensor.shape)
    for path, layer in layers.items():
        generator = torch.Generator().manual_seed(derived_seed(seed, path))
        for name, tensor in layer.router.initial_weights(generator).items():
            state[f"{path}.router.{name}"] = tensor
    return state


def has_experts(state: Mapping[str, Tensor], model: nn.Module) -> bool:
    """Whether ``state`` already holds the experts of some layer of ``model``."""
    prefixes = tuple(f"{path}.experts." for path, _ in moe_layers(model))
    return any(name.startswith(prefixes) for name in state)


def _layer_of(name: str, layers: Mapping[str, MoEMLP]) -> str | None:
    """Path of the layer that the dense tensor belongs to, None where it is no part of one."""
    parts = name.split(".")
    return next((path for n in range(len(parts)) if (path := ".".join(parts[:n])) in layers), None)

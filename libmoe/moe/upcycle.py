"""Sparse upcycling (arXiv:2212.05055) of a dense checkpoint, layer by layer."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from libmoe.moe.divergence import diverged
from libmoe.moe.layer import MoEMLP, moe_layers
from libmoe.moe.seeding import derived_seed


def upcycle(
    state: Mapping[str, Tensor], model: nn.Module, seed: int, noise: float = 0.0, redrawn: float = 0.0
) -> dict[str, Tensor]:
    """The state that ``model`` starts from when ``state`` is dense where the model has experts.

    Layers whose experts ``state`` holds already stay as they are. Elsewhere every expert is the dense MLP (an
    expanded view of its tensors, without a copy), and the router is drawn by a generator that ``seed`` and
    the layer's path seed, so that neither rank nor order matters. With weights that sum to one the model
    then computes what the dense one does; not so with ``noise`` or ``redrawn`` (``libmoe.moe.divergence``),
    which make each expert a copy of its own, seeded by ``seed``, path and expert.

    Args:
        model: only its layers' paths and shapes are read; it may live on the meta device.
    """
    layers = {
        path: layer
        for path, layer in moe_layers(model)
        if not any(name.startswith(f"{path}.experts.") for name in state)
    }
    dense: dict[str, dict[str, Tensor]] = {path: {} for path in layers}
    upcycled: dict[str, Tensor] = {}
    for name, tensor in state.items():
        path = _layer_of(name, layers)
        if path is None:
            upcycled[name] = tensor
        else:
            dense[path][name[len(path) + 1 :]] = tensor
    for path, layer in layers.items():
        stacked = _copies(dense[path], layer.router.experts)
        if dense[path] and (noise or redrawn):
            stacked = _diverged(dense[path], layer, derived_seed(seed, path), noise, redrawn)
        router = layer.router.initial_weights(torch.Generator().manual_seed(derived_seed(seed, path)))
        upcycled |= {f"{path}.experts.{name}": tensor for name, tensor in stacked.items()}
        upcycled |= {f"{path}.router.{name}": tensor for name, tensor in router.items()}
    return upcycled


def _copies(dense: Mapping[str, Tensor], experts: int) -> dict[str, Tensor]:
    return {name: tensor.expand(experts, *tensor.shape) for name, tensor in dense.items()}


def _diverged(
    dense: Mapping[str, Tensor], layer: MoEMLP, seed: int, noise: float, redrawn: float
) -> dict[str, Tensor]:
    experts = layer.router.experts
    stacked = {name: tensor.new_empty(experts, *tensor.shape) for name, tensor in dense.items()}
    for e in range(experts):
        generator = torch.Generator().manual_seed(derived_seed(seed, f"expert {e}"))
        for name, tensor in diverged(dense, layer.experts.form, noise, redrawn, generator).items():
            stacked[name][e] = tensor
    return stacked


def _layer_of(name: str, layers: Mapping[str, MoEMLP]) -> str | None:
    """Path of the layer that the dense tensor belongs to, None where it is no part of one."""
    parts = name.split(".")
    return next((path for n in range(len(parts)) if (path := ".".join(parts[:n])) in layers), None)

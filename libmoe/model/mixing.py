"""Which dense MLPs of the model become mixtures of experts."""

from typing import Literal

from torch import nn

from libmoe.config.errors import ConfigError
from libmoe.config.placement import layers_with_experts
from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP, chain

_STACKS: dict[Literal["vision", "language"], tuple[str, str]] = {
    "vision": ("vision_tower", "encoder.layers"),
    "language": ("language_model", "layers"),
}
"""Where transformers' backbones keep their layers, each with its MLP as ``mlp``."""


def mix_experts(model: nn.Module, settings: MoEConfig) -> None:
    """Exchanges the MLPs of ``model`` that the settings name for layers of experts.

    Raises:
        ConfigError: a part keeps its MLPs elsewhere, they have another form, or a chosen layer gets none.
    """
    if settings.name == "none":
        return
    for part, (backbone, stack) in _STACKS.items():
        layers = _layers(model.get_submodule(backbone), stack) if part in settings.where else []
        chosen = layers_with_experts(settings, part, len(layers))
        for number in chosen:
            layers[number].mlp = MoEMLP(layers[number].get_submodule("mlp"), settings)
        if chosen:
            chain(model.get_submodule(backbone))
    if "connector" in settings.where:
        model.multi_modal_projector = MoEMLP(model.get_submodule("multi_modal_projector"), settings)


def _layers(backbone: nn.Module, stack: str) -> list[nn.Module]:
    try:
        layers = list(backbone.get_submodule(stack).children())
    except AttributeError:
        layers = []
    if not layers or not all("mlp" in dict(layer.named_children()) for layer in layers):
        raise ConfigError(
            f"{type(backbone).__name__} does not keep its MLPs in {stack}, where experts are put: take its "
            "part of the model out of moe.where."
        )
    return layers

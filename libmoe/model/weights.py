"""The one way weights enter a model: upcycled where needed, checked, then loaded under any ZeRO stage."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers.integrations import is_deepspeed_zero3_enabled

from libmoe.config.errors import ConfigError
from libmoe.model.config import LibmoeConfig
from libmoe.model.modeling import LibmoeForConditionalGeneration
from libmoe.model.skeleton import skeleton
from libmoe.moe import upcycle


def load(
    config: LibmoeConfig,
    state: Mapping[str, Tensor],
    origin: str,
    seed: int,
    dtype: torch.dtype,
    attention: str = "sdpa",
) -> LibmoeForConditionalGeneration:
    """The model of ``config`` holding ``state``; where it is dense and the model has experts, upcycled.

    The result is the same on every rank and under every ZeRO stage; ZeRO-3, where configured, partitions it.

    Args:
        origin: names the state in errors.
        attention: transformers' name of an implementation, for tower and language model.
        seed: of what upcycling draws, unless the settings of the experts have their own.

    Raises:
        ConfigError: a tensor is missing, left over or of another shape.
    """
    outline, moe = skeleton(config), config.moe_settings
    state = upcycle(state, outline, seed if moe.seed is None else moe.seed, moe.expert_noise, moe.redrawn)
    _check(state, outline, origin)
    if is_deepspeed_zero3_enabled():
        import deepspeed

        deepspeed.init_distributed()  # on the CPU nobody has, and each rank would keep all
    else:  # the loader adopts the tensors it is given, where ZeRO-3 copies
        state = {name: _owned(tensor, dtype) for name, tensor in state.items()}
    model = LibmoeForConditionalGeneration.from_pretrained(
        None, config=config, state_dict=state, dtype=dtype, attn_implementation=attention
    )
    model._weight_conversions = []  # on saving, transformers would undo renamings that it never made
    return model


def dense(config: LibmoeConfig) -> LibmoeConfig:
    """The same model without experts."""
    return LibmoeConfig.from_dict({**config.to_dict(), "moe": None})


def expected_shapes(model: LibmoeForConditionalGeneration) -> dict[str, torch.Size]:
    """Shape of every tensor that a checkpoint of the model holds; tied ones are stored once."""
    tied = model.all_tied_weights_keys
    return {name: tensor.shape for name, tensor in model.state_dict().items() if name not in tied}


def _owned(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy that shares memory with neither a file nor, being an expert, its siblings."""
    target = dtype if tensor.is_floating_point() else tensor.dtype
    return tensor.to(target, copy=True, memory_format=torch.contiguous_format)


def _check(state: Mapping[str, Tensor], model: LibmoeForConditionalGeneration, origin: str) -> None:
    expected = expected_shapes(model)
    for name, shape in expected.items():
        if name not in state:
            raise ConfigError(
                f"{origin} lacks the tensor {name} {tuple(shape)} of this model: "
                "choose the preset and the moe settings it was saved with."
            )
        if state[name].shape != shape:
            raise ConfigError(
                f"{origin} holds {name} with shape {tuple(state[name].shape)}, this model {tuple(shape)}: "
                "choose the preset and the moe settings it was saved with."
            )
    extra = next(
        (name for name in state if name not in expected and name not in model.all_tied_weights_keys), None
    )
    if extra is not None:
        raise ConfigError(
            f"{origin} holds the tensor {extra} {tuple(state[extra].shape)}, which this model does not have: "
            "choose the preset and the moe settings it was saved with."
        )

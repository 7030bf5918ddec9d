"""Models that are built only to be looked at: shapes and names on the meta device, or whole on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers.integrations import deepspeed as zero

from libmoe.model.config import LibmoeConfig
from libmoe.model.modeling import LibmoeForConditionalGeneration


@contextmanager
def whole_modules() -> Iterator[None]:
    """Construction inside is never partitioned, though ZeRO-3 may be configured for the model to come."""
    reference = zero._hf_deepspeed_config_weak_ref
    active = reference() if reference is not None else None
    zero.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if active is not None:
            zero.set_hf_deepspeed_config(active)


def skeleton(config: LibmoeConfig) -> LibmoeForConditionalGeneration:
    """The model on the meta device: every name and shape, no memory."""
    with whole_modules(), torch.device("meta"):
        return LibmoeForConditionalGeneration(config)

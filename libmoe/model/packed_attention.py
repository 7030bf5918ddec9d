"""Attention in a row that several samples share: each attends to itself, as if it were alone.

transformers tells samples apart by positions that begin anew. For eager attention it makes a mask of the
whole row from them, for FlashAttention it takes the samples' boundaries; both are exact. For torch's own
attention it makes the mask too, which costs the square of the whole row's length and rules out the fastest
kernels. Hence the implementation here: one call a sample, causal and without a mask, on any device.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from libmoe.config.errors import ConfigError

NAME = "packed_sdpa"
_ADVICE = "set data.packing=false"


def attend_within_samples(language: PreTrainedModel) -> None:
    """Prepares a language model for batches that name their ``sample_lengths``.

    Raises:
        ConfigError: it carries a state from token to token, past the end of a sample.
    """
    if language._is_stateful:
        kind = language.config.model_type
        raise ConfigError(f"A {kind} carries its state from one packed sample into the next: {_ADVICE}.")
    if language.config._attn_implementation == "sdpa":
        language.set_attn_implementation(NAME)


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    sample_lengths: tuple[int, ...] | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """``(1, heads, L1 + L2 + …, D)`` queries, keys and values to ``(1, L1 + L2 + …, heads, D)``.

    Raises:
        ConfigError: the model does not pass on where samples begin, or samples are longer than its window.
    """
    if sample_lengths is None:
        kind = module.config.model_type
        raise ConfigError(f"The code of {kind} does not tell its attention where samples begin: {_ADVICE}.")
    if sliding_window is not None and max(sample_lengths) > sliding_window:
        raise ConfigError(
            f"A sample of {max(sample_lengths)} tokens exceeds the model's attention window of "
            f"{sliding_window}: {_ADVICE} or lower data.max_length."
        )
    parts = zip(*(tensor.split(sample_lengths, dim=2) for tensor in (query, key, value)), strict=True)
    attended = [sdpa_attention_forward(module, *part, attention_mask=None, **options)[0] for part in parts]
    return torch.cat(attended, dim=1), None


def _no_mask(*_: Any, **__: Any) -> None:
    """Samples are computed one by one, so that there is nothing to mask."""


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, _no_mask)

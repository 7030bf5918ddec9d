"""How the samples of a micro batch lie in its tensors: packed in one row, or each padded in its own."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from libmoe.data.conversation import IGNORED
from libmoe.data.dataset import Sample

Layout = Callable[[Sequence[Sample]], dict[str, Any]]


def packed(samples: Sequence[Sample]) -> dict[str, Any]:
    """One row without padding: ``input_ids``, ``labels``, ``position_ids`` (1, L1 + L2 + …).

    Positions begin anew with each sample, which is how transformers tells samples apart where it makes a
    mask, though never with a cache; attention that needs none is told ``sample_lengths``, or transformers'
    arguments of FlashAttention. The first label of a sample is masked: the token before it is another's.
    """
    lengths = [len(sample.input_ids) for sample in samples]
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    labels = torch.cat([sample.labels for sample in samples])
    labels[ends[:-1].long()] = IGNORED
    return {
        "input_ids": torch.cat([sample.input_ids for sample in samples]).unsqueeze(0),
        "labels": labels.unsqueeze(0),
        "position_ids": torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0),
        "use_cache": False,
        "sample_lengths": tuple(lengths),
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


def padded(pad_id: int) -> Layout:
    """A row each, padded on the right: ``input_ids``, ``labels``, ``attention_mask`` (B, longest)."""

    def layout(samples: Sequence[Sample]) -> dict[str, Any]:
        ids = [sample.input_ids for sample in samples]
        return {
            "input_ids": _pad(ids, pad_id),
            "labels": _pad([sample.labels for sample in samples], IGNORED),
            "attention_mask": _pad([torch.ones_like(row) for row in ids], 0),
        }

    return layout


def _pad(rows: list[Tensor], value: int) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=value)

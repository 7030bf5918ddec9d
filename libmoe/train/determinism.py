"""The same run.json on the same hardware gives the same numbers, bit for bit, unless it asks for speed."""

import os

import torch
from transformers import set_seed


def make_repeatable(seed: int, device: str, deterministic: bool) -> None:
    """Seeds every generator; where it is to be ``deterministic``, turns off what may differ from run to run.

    On CUDA an operation without a repeatable form is used nevertheless, with a warning in the log.
    """
    set_seed(seed)
    torch.use_deterministic_algorithms(deterministic, warn_only=device == "cuda")
    if not deterministic:
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Filling every new tensor only hides reads of memory that nobody wrote, at the price of writing it twice.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False

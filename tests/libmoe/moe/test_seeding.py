"""Derived seeds."""

import torch

from libmoe.moe.seeding import derived_seed


def test_seeds_differ_by_seed_and_name_and_are_all_used() -> None:
    seeds = [derived_seed(seed, name) for seed in (0, 1, 2**31) for name in ("vision", "language")]
    draws = {torch.rand(1, generator=torch.Generator().manual_seed(seed)).item() for seed in seeds}
    assert len(draws) == 6
    assert max(seeds) < 2**32

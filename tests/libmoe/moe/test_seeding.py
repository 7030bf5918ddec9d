"""Draws that follow from a seed and from nothing else."""

import pytest
import torch

from libmoe.moe.seeding import derived_seed, seeded


def test_seeds_differ_by_seed_and_name_and_are_all_used() -> None:
    seeds = [derived_seed(seed, name) for seed in (0, 1, 2**31) for name in ("vision", "language")]
    draws = {torch.rand(1, generator=torch.Generator().manual_seed(seed)).item() for seed in seeds}
    assert len(draws) == 6
    assert max(seeds) < 2**32


def test_draws_follow_from_the_seed_and_change_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", gpus.append)
    undisturbed = torch.random.get_rng_state()
    with seeded(5):
        drawn = torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), undisturbed)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert gpus == []  # nothing would give their generators back what they were

"""Seeds and repeatable operations."""

import random

import numpy as np
import pytest
import torch

from libmoe.train.determinism import make_repeatable


@pytest.fixture(autouse=True)
def restore():
    yield
    torch.use_deterministic_algorithms(False)


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_every_generator_is_seeded():
    make_repeatable(3, "cpu", deterministic=True)
    first = draw()
    make_repeatable(3, "cpu", deterministic=True)
    assert draw() == first
    make_repeatable(4, "cpu", deterministic=True)
    assert draw() != first


def test_what_cannot_be_repeated_is_refused_on_the_cpu():
    make_repeatable(3, "cpu", deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    make_repeatable(3, "cuda", deterministic=True)
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_speed_can_be_asked_for_instead():
    make_repeatable(3, "cpu", deterministic=True)
    first = draw()
    make_repeatable(3, "cpu", deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert draw() == first

"""For all tests of libmoe."""

import pytest
import torch


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What a test draws is the same whichever tests ran before it in its process."""
    torch.manual_seed(0)

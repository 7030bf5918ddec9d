"""For all tests."""

import signal

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("libmoe", deadline=None)
settings.load_profile("libmoe")

# A worker of pytest-xdist ignores Ctrl-C, and so would every process it starts; ours have to answer it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)

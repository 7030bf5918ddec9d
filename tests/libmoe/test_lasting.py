"""What the garbage collector does with objects that stay."""

import gc
from collections.abc import Iterator

import pytest

from libmoe.lasting import lasting


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_made_inside_is_never_looked_through():
    with lasting():
        assert not gc.isenabled()
        made: list[object] = []
    later: list[object] = []
    looked_through = {id(thing) for thing in gc.get_objects()}
    assert id(made) not in looked_through
    assert id(later) in looked_through


def test_it_collects_again_after_a_failure():
    with pytest.raises(ZeroDivisionError), lasting():
        _ = 1 / 0
    assert gc.isenabled()

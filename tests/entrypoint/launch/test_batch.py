import re

import pytest

from entrypoint.launch.batch import accumulation_steps
from libmoe.config.errors import ConfigError


@pytest.mark.parametrize(
    ("global_batch", "micro", "ranks", "steps"), [(256, 64, 4, 1), (32, 4, 4, 2), (24, 6, 1, 4), (8, 4, 2, 1)]
)
def test_accumulation_keeps_the_global_batch(global_batch: int, micro: int, ranks: int, steps: int) -> None:
    assert accumulation_steps(global_batch, micro, ranks) == steps


@pytest.mark.parametrize(("global_batch", "micro", "ranks"), [(24, 6, 3), (8, 3, 2), (4, 1, 8), (32, 64, 1)])
def test_an_impossible_batch_is_refused_with_advice_that_works(
    global_batch: int, micro: int, ranks: int
) -> None:
    with pytest.raises(ConfigError) as caught:
        accumulation_steps(global_batch, micro, ranks)
    for way in str(caught.value).partition(": use ")[2].split(" or "):
        fewer = re.search(r"(\d+) ranks?", way)
        settings = {key: int(value) for key, value in re.findall(r"--set train\.(\w+)=(\d+)", way)}
        assert fewer or settings
        changed = {"global_batch_size": global_batch, "micro_batch_size": micro} | settings
        steps = accumulation_steps(*changed.values(), int(fewer[1]) if fewer else ranks)
        assert steps >= 1


def test_the_nearest_ways_are_named() -> None:
    with pytest.raises(ConfigError, match=r"use 4 ranks or --set train\.global_batch_size=20\.$"):
        accumulation_steps(16, 4, 5)
    with pytest.raises(
        ConfigError, match=r"use 7 ranks with --set train\.micro_batch_size=1 or --set .*=16\.$"
    ):
        accumulation_steps(7, 2, 8)
    with pytest.raises(ConfigError, match=r"use --set train\.micro_batch_size=3 or --set .*=36\.$"):
        accumulation_steps(27, 4, 9)

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
    advice = dict(re.findall(r"--set train\.(\w+)=(\d+)", str(caught.value)))
    assert advice
    for key, value in advice.items():
        changed = {"global_batch_size": global_batch, "micro_batch_size": micro} | {key: int(value)}
        assert accumulation_steps(changed["global_batch_size"], changed["micro_batch_size"], ranks) >= 1

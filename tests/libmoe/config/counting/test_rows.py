"""Sums over rows give what the rows give one by one."""

import pytest

from libmoe.config.counting import anatomy, row_costs, training_flops
from libmoe.config.layers import resolve


@pytest.mark.parametrize("stage", ["pretrain", "sft"])
@pytest.mark.parametrize("again", [False, True])
def test_three_sums_are_enough(stage: str, again: bool) -> None:
    run = resolve(stage, "phi35-siglip224", []).config
    model, trainable = anatomy(run.model, run.moe), run.train.trainable
    rows = [(700, 1), (2048, 3), (41, 0), (1, 0)]
    expected = sum(training_flops(model, trainable, again, *row).total for row in rows)
    costs = row_costs(model, trainable, again)
    assert expected == costs.of(
        sum(tokens for tokens, _ in rows),
        sum(tokens**2 for tokens, _ in rows),
        sum(images for _, images in rows),
    )

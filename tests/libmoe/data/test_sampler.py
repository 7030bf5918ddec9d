"""Which rows, in which order."""

import numpy as np
import pytest

from libmoe.data.order import Groups
from libmoe.data.sampler import BatchShape, EpochSampler

SHAPE = BatchShape(micro=4, ranks=2, accumulation=3)
SHAPES = [BatchShape(24, 1, 1), BatchShape(12, 2, 1), SHAPE, BatchShape(1, 3, 8)]


def groups(images=101, texts=30, seed=0):
    random = np.random.RandomState(seed)
    has_image = random.permutation(np.arange(images + texts) < images)
    return Groups(has_image, random.randint(1, 1000, images + texts))


BY = groups()


def sampler(rows=131, shape=SHAPE, seed=1, by=None, cost=None, step=0):
    made = EpochSampler(np.arange(rows), shape, seed, by, cost)
    made.start_at(step)
    return made


def steps(made):
    return np.array(list(made)).reshape(made.steps, -1)


@pytest.mark.parametrize("cost", [None, BY.length], ids=["", "dealt"])
@pytest.mark.parametrize("by", [None, BY], ids=["mixed", "alike"])
def test_an_epoch_is_whole_steps_and_misses_no_row(by, cost):
    made = sampler(by=by, cost=cost)
    order = list(made)
    assert len(order) == len(made) == made.steps * SHAPE.samples
    assert set(order) == set(range(131))
    assert made.steps == 6  # 131 rows, 24 a step


@pytest.mark.parametrize("by", [None, BY], ids=["mixed", "alike"])
def test_the_order_follows_from_seed_and_step_alone(by):
    first = sampler(by=by)
    assert list(first) == list(first) == list(sampler(by=by))
    last_of_epoch = sampler(by=by, step=first.steps - 1)
    assert list(last_of_epoch) == list(first)
    assert list(sampler(by=by, step=first.steps)) != list(first)
    assert list(sampler(by=by, seed=2)) != list(first)


@pytest.mark.parametrize("cost", [None, BY.length], ids=["", "dealt"])
@pytest.mark.parametrize("by", [None, BY], ids=["mixed", "alike"])
def test_a_step_learns_from_the_same_rows_on_any_number_of_ranks(by, cost):
    orders = [np.sort(steps(sampler(shape=shape, by=by, cost=cost)), axis=1) for shape in SHAPES]
    assert all(np.array_equal(order, orders[0]) for order in orders)


def test_the_order_is_this_one():
    """A file of an old run must stay repeatable: a change here is a change for every user."""
    shape = BatchShape(micro=2, ranks=2, accumulation=1)
    by = Groups(np.arange(10) % 3 > 0, np.arange(10)[::-1] * 7 % 10)
    rows = np.arange(10)
    assert list(EpochSampler(rows, shape, 42)) == [1, 8, 5, 3, 7, 9, 4, 0, 6, 2, 1, 8]
    assert list(EpochSampler(rows, shape, 42, by)) == ALIKE
    assert list(EpochSampler(rows, shape, 42, by, by.length)) == DEALT


ALIKE = [7, 8, 5, 2, 9, 6, 3, 0, 7, 4, 1, 8]
DEALT = [2, 7, 5, 8, 0, 9, 3, 6, 8, 7, 1, 4]


def test_rows_left_out_never_come():
    rows = np.setdiff1d(np.arange(131), [0, 7, 130])
    by = Groups(BY.has_image[rows], BY.length[rows])
    assert {*EpochSampler(rows, SHAPE, 1, by, by.length)} == {*rows}


@pytest.mark.parametrize(("images", "texts"), [(101, 30), (24, 3), (3, 50), (1, 1), (0, 7), (7, 0), (48, 24)])
def test_steps_hold_one_kind_but_for_what_is_left_over(images, texts):
    by = groups(images, texts)
    chosen = steps(sampler(images + texts, by=by))
    assert {*chosen.ravel()} == set(range(images + texts))
    kinds = by.has_image[chosen]
    left_over = images % SHAPE.samples + texts % SHAPE.samples
    assert (kinds != kinds[:, :1]).any(axis=1).sum() <= -(-left_over // SHAPE.samples)


def test_lengths_are_alike_within_a_step():
    by = groups(4000, 0)
    spread = by.length[steps(sampler(4000, by=by))].std(axis=1).mean()
    alone = by.length[steps(sampler(4000))].std(axis=1).mean()
    assert spread < alone / 10


def test_micro_batches_of_a_step_cost_the_same():
    """To within a row, whatever the rows of the step are."""
    by = groups(4000, 0)

    def worst(cost):
        micro_batches = by.length[steps(sampler(4000, cost=cost))].reshape(-1, SHAPE.ranks * 3, SHAPE.micro)
        sums = micro_batches.sum(axis=2)
        return (sums.max(axis=1) / sums.mean(axis=1)).mean()

    assert worst(by.length) < 1.1 < 1.3 < worst(None)

"""Which rows, in which order."""

import numpy as np
import pytest

from libmoe.data.sampler import BatchShape, EpochSampler, Groups

SHAPE = BatchShape(micro=4, ranks=2, accumulation=3)


def groups(images=101, texts=30, seed=0):
    random = np.random.RandomState(seed)
    has_image = random.permutation(np.arange(images + texts) < images)
    return Groups(has_image, random.randint(1, 1000, images + texts))


def sampler(rows=131, shape=SHAPE, seed=1, by=None, step=0):
    made = EpochSampler(rows, shape, seed, by)
    made.start_at(step)
    return made


@pytest.mark.parametrize("by", [None, groups()])
def test_an_epoch_is_whole_steps_and_misses_no_row(by):
    order = list(sampler(by=by))
    assert len(order) == len(sampler(by=by)) == sampler(by=by).steps * SHAPE.samples
    assert set(order) == set(range(131))
    assert len(order) - 131 < 2 * SHAPE.samples


@pytest.mark.parametrize("by", [None, groups()])
def test_the_order_follows_from_seed_and_step_alone(by):
    first = sampler(by=by)
    assert list(first) == list(first) == list(sampler(by=by))
    last_of_epoch = sampler(by=by, step=first.steps - 1)
    assert list(last_of_epoch) == list(first)
    assert list(sampler(by=by, step=first.steps)) != list(first)
    assert list(sampler(by=by, seed=2)) != list(first)


def test_the_order_is_this_one():
    """A file of an old run must stay repeatable: a change here is a change for every user."""
    small = EpochSampler(10, BatchShape(micro=2, ranks=2, accumulation=1), 42, None)
    assert list(small) == GOLDEN


GOLDEN = [1, 8, 5, 3, 7, 9, 4, 0, 6, 2, 1, 8]


@pytest.mark.parametrize(("images", "texts"), [(101, 30), (24, 3), (3, 50), (1, 1), (0, 7), (7, 0)])
def test_micro_batches_hold_one_kind(images, texts):
    by = groups(images, texts)
    order = np.array(list(sampler(images + texts, by=by)))
    assert set(order) == set(range(images + texts))
    kinds = by.has_image[order.reshape(-1, SHAPE.micro)]
    assert (kinds == kinds[:, :1]).all()


def test_ranks_compute_one_kind_at_a_time_but_for_the_rest():
    by = groups(1000, 400)
    kinds = by.has_image[np.array(list(sampler(1400, by=by))).reshape(-1, SHAPE.ranks, SHAPE.micro)]
    mixed = (kinds != kinds[:, :1, :1]).any(axis=(1, 2))
    assert mixed.sum() <= 1


def test_lengths_are_alike_within_a_round():
    by = groups(4000, 0)
    spread = by.length[np.array(list(sampler(4000, by=by))).reshape(-1, 8)].std(axis=1).mean()
    alone = by.length[np.array(list(sampler(4000))).reshape(-1, 8)].std(axis=1).mean()
    assert spread < alone / 10

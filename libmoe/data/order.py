"""Which rows make up which step, and who computes which of them: arrays of positions among an epoch's rows.

The first does not ask how many ranks there are, so that a step learns from the same rows on any machine.
"""

from dataclasses import dataclass

import numpy as np

_POOL_STEPS = 64
"""Rows of this many steps are sorted by length together: similar lengths, still a new mix each epoch."""


@dataclass(frozen=True)
class Groups:
    """What batches are made alike in, one entry a row: whether it has an image, and how long it is."""

    has_image: np.ndarray
    length: np.ndarray


def shuffled(random: np.random.RandomState, rows: int, samples: int) -> np.ndarray:
    """Every row once, the last step filled up with repeats: (steps, samples)."""
    return np.resize(random.permutation(rows), (-(-rows // samples), samples))


def alike(random: np.random.RandomState, groups: Groups, samples: int) -> np.ndarray:
    """As ``shuffled``, but the rows of a step are of one kind and of similar length: (steps, samples).

    What is left over of both kinds shares the last one or two steps, before the steps are shuffled. Within a
    step, rows go from short to long.
    """
    steps, left = [], []
    for kind in (True, False):
        members = random.permutation(np.flatnonzero(groups.has_image == kind))
        whole = len(members) // samples * samples
        steps.append(_by_length(members[:whole], groups.length, samples))
        left.append(members[whole:])
    mixed = -(-sum(map(len, left)) // samples)
    filled_up = np.concatenate([*left, *(step.ravel() for step in steps)])
    chosen = np.concatenate([*steps, np.resize(filled_up, (mixed, samples))])
    in_order = np.argsort(groups.length[chosen], axis=1, kind="stable")
    return random.permutation(np.take_along_axis(chosen, in_order, axis=1))


def dealt(steps: np.ndarray, cost: np.ndarray, micro: int) -> np.ndarray:
    """The rows of each step, dealt to its micro batches so that all cost about the same: (steps, samples).

    The dearest rows go to the micro batches in turn, the next ones in the opposite turn, and so on;
    consecutive runs of ``micro`` are the micro batches.
    """
    falling = np.argsort(-cost[steps], axis=1, kind="stable")
    hands = np.take_along_axis(steps, falling, axis=1).reshape(len(steps), micro, -1)
    hands[:, 1::2] = hands[:, 1::2, ::-1]
    return hands.swapaxes(1, 2).reshape(steps.shape)


def _by_length(members: np.ndarray, length: np.ndarray, samples: int) -> np.ndarray:
    pool = _POOL_STEPS * samples
    pools = [members[start : start + pool] for start in range(0, len(members), pool)]
    ordered = [rows[np.argsort(length[rows], kind="stable")] for rows in pools]
    return np.concatenate([members[:0], *ordered]).reshape(-1, samples)

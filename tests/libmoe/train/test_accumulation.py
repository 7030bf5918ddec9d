"""Accumulated micro batches compute what one large batch does; the same run.json computes the same again."""

import pytest

ROUTED = ("data.annotations='sample-pft-json'", "train.max_steps=3")
# Router losses large enough that a wrong share of them would show.
LOUD = ("moe.balance_coefficient=2.0", "moe.z_coefficient=0.5", "train.zero.stage=2")
COMPARED = ("lm_loss", "balance_loss", "z_loss", "loss", "grad_norm")


@pytest.fixture(scope="module")
def train(tmp_path_factory, spec_of, run):
    def make(name, micro, processes=1):
        settings = (*ROUTED, *LOUD, "train.global_batch_size=8", f"train.micro_batch_size={micro}")
        done = run(spec_of(tmp_path_factory.mktemp(name) / "sft", "sft", *settings, processes=processes))
        assert done.code == 0, done.log
        return done

    return make


@pytest.fixture(scope="module")
def whole(train):
    """Eight samples at once."""
    return train("whole", micro=8)


def test_the_split_changes_nothing_but_rounding(whole, train):
    """Over two ranks and two micro batches each."""
    split = train("split", micro=2, processes=2)
    assert len(split.metrics) == len(whole.metrics) == 3
    for ours, theirs in zip(split.metrics, whole.metrics, strict=True):
        for key in COMPARED:
            assert ours[key] == pytest.approx(theirs[key], rel=2e-4), key
        assert (ours["tokens"], ours["images"]) == (theirs["tokens"], theirs["images"])


def test_router_losses_make_up_much_of_the_gradient(whole):
    """Else the test above could not see their share."""
    assert whole.metrics[0]["grad_norm"] > 5


def test_the_same_run_again_is_the_same(whole, train):
    again = train("again", micro=8)
    for ours, theirs in zip(again.metrics, whole.metrics, strict=True):
        assert [ours[key] for key in COMPARED] == [theirs[key] for key in COMPARED]

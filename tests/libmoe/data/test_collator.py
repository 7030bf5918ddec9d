"""Batches and their facts, with and without images, with rows that could not be read."""

import pytest
import torch

from libmoe.data.collator import Collator
from libmoe.data.conversation import IGNORED
from libmoe.data.dataset import Sample, Skipped
from libmoe.data.layout import packed, padded

PAD, IMAGE, N_IMAGE = 0, 6, 4
BAD = Skipped("bad", 7, "The image x.jpg does not decode.")


def sample(name, length, images=0, learns=True):
    ids = torch.arange(10, 10 + length)
    ids[1 : 1 + N_IMAGE * images] = IMAGE
    labels = ids.clone() if learns else torch.full_like(ids, IGNORED)
    labels[: length // 2] = IGNORED
    return Sample(name, ids, labels, tuple(torch.rand(images, 3, 28, 28)))


@pytest.fixture(params=[packed, padded(PAD)], ids=["packed", "padded"])
def collate(request):
    return Collator(request.param, stand_in=PAD)


def test_images_come_in_the_order_of_their_tokens(collate):
    two, none, one = sample("two", 12, images=2), sample("none", 9), sample("one", 9, images=1)
    batch = collate([two, none, one])
    assert torch.equal(batch["pixel_values"], torch.stack([*two.images, *one.images]))
    assert (batch["input_ids"] == IMAGE).sum() == 3 * N_IMAGE


def test_facts(collate):
    facts = collate([sample("a", 12, images=1), sample("b", 9, learns=False)])["facts"]
    assert (facts.rows, facts.tokens, facts.images) == (("a", "b"), 21, 1)
    assert facts.pairs == 12**2 + 9**2
    assert (facts.unlabelled, facts.skipped) == (("b",), ())


def test_a_label_on_the_first_token_alone_teaches_nothing(collate):
    only_first = Sample("a", torch.tensor([5, 6]), torch.tensor([5, IGNORED]), ())
    assert collate([only_first])["facts"].unlabelled == ("a",)


def test_text_alone_has_no_pixels(collate):
    batch = collate([sample("a", 12), sample("b", 9)])
    assert batch["facts"].images == 0
    assert "pixel_values" not in batch


def test_a_row_that_cannot_be_read_leaves_no_trace_but_its_name(collate):
    good = sample("good", 12, images=1)
    batch, without = collate([BAD, good]), collate([good])
    assert batch["facts"].skipped == (BAD,)
    assert batch["facts"].rows == ("good",)
    for key in without.keys() - {"facts"}:
        assert torch.equal(torch.as_tensor(batch[key]), torch.as_tensor(without[key]))


def test_nothing_but_unreadable_rows_is_still_a_batch(collate):
    batch = collate([BAD, BAD])
    assert batch["input_ids"].tolist() == [[PAD]]
    assert batch["labels"].tolist() == [[IGNORED]]
    facts = batch["facts"]
    assert (facts.rows, facts.tokens, facts.images, facts.unlabelled) == ((), 0, 0, ())

"""Batches, with and without an image."""

import torch

from libmoe.data.collator import Collator
from libmoe.data.conversation import IGNORED
from libmoe.data.dataset import Sample

PAD, IMAGE, N_IMAGE = 0, 6, 4
COLLATE = Collator(pad_id=PAD)


def sample(name, length, image=False, learns=True):
    ids = torch.arange(10, 10 + length)
    if image:
        ids[1 : 1 + N_IMAGE] = IMAGE
    labels = ids.clone() if learns else torch.full_like(ids, IGNORED)
    labels[: length // 2] = IGNORED
    return Sample(name, ids, labels, (torch.rand(3, 28, 28),) if image else ())


def test_rows_are_padded_on_the_right():
    long, short = sample("long", 12, image=True), sample("short", 9, image=True)
    batch = COLLATE([long, short])
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape == (2, 12)
    assert batch["input_ids"][1].tolist() == [*short.input_ids.tolist(), PAD, PAD, PAD]
    assert batch["labels"][1].tolist() == [*short.labels.tolist(), IGNORED, IGNORED, IGNORED]
    assert batch["attention_mask"].sum(dim=1).tolist() == [12, 9]
    assert torch.equal(batch["pixel_values"], torch.stack([*long.images, *short.images]))


def test_facts():
    facts = COLLATE([sample("a", 12, image=True), sample("b", 9, learns=False)])["facts"]
    assert (facts.rows, facts.tokens, facts.images) == (("a", "b"), 21, 1)
    assert facts.unlabelled == ("b",)


def test_a_label_on_the_first_token_alone_teaches_nothing():
    only_first = Sample("a", torch.tensor([5, 6]), torch.tensor([5, IGNORED]), ())
    assert COLLATE([only_first])["facts"].unlabelled == ("a",)


def test_text_alone_has_no_pixels():
    batch = COLLATE([sample("a", 12), sample("b", 9)])
    assert batch["facts"].images == 0
    assert "pixel_values" not in batch

"""Where samples lie in a micro batch."""

import torch

from libmoe.data.conversation import IGNORED
from libmoe.data.dataset import Sample
from libmoe.data.layout import packed, padded

PAD = 0


def sample(name, length):
    ids = torch.arange(10, 10 + length)
    return Sample(name, ids, ids.clone(), ())


LONG, SHORT, ONE = sample("long", 12), sample("short", 9), sample("one", 1)


def test_rows_are_padded_on_the_right():
    batch = padded(PAD)([LONG, SHORT])
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape == (2, 12)
    assert batch["input_ids"][1].tolist() == [*SHORT.input_ids.tolist(), PAD, PAD, PAD]
    assert batch["labels"][1].tolist() == [*SHORT.labels.tolist(), IGNORED, IGNORED, IGNORED]
    assert batch["attention_mask"].sum(dim=1).tolist() == [12, 9]


def test_samples_are_packed_one_after_the_other():
    batch = packed([LONG, ONE, SHORT])
    assert batch["input_ids"].tolist() == [
        [*LONG.input_ids.tolist(), *ONE.input_ids.tolist(), *SHORT.input_ids.tolist()]
    ]
    assert batch["position_ids"].tolist() == [[*range(12), 0, *range(9)]]
    assert "attention_mask" not in batch  # transformers would then not look at the positions
    assert batch["sample_lengths"] == (12, 1, 9)
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 12, 13, 22]
    assert batch["cu_seq_lens_q"].dtype == torch.int32
    assert batch["max_length_q"] == batch["max_length_k"] == 12


def test_no_sample_predicts_the_next_ones_beginning():
    labels = packed([LONG, ONE, SHORT])["labels"][0]
    assert (labels == IGNORED).nonzero().flatten().tolist() == [0, 12, 13]
    assert LONG.labels[0] != IGNORED  # the sample itself is left as it was


def test_both_have_as_many_labels_to_predict():
    samples = [LONG, ONE, SHORT]
    rows, row = padded(PAD)(samples)["labels"], packed(samples)["labels"]
    assert (rows[:, 1:] != IGNORED).sum() == (row[:, 1:] != IGNORED).sum()

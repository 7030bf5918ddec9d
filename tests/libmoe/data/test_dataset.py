"""Rows with their pictures, in this process and in loader workers."""

import errno

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from libmoe.config.errors import DataError, VolumeError
from libmoe.data.collator import Collator
from libmoe.data.conversation import ConversationEncoder
from libmoe.data.dataset import ConversationDataset, Skipped
from libmoe.data.layout import packed
from libmoe.data.pixels import Pixels
from libmoe.data.prompts import prompt_format
from libmoe.data.sampler import BatchShape, EpochSampler

SHAPE = BatchShape(micro=2, ranks=1, accumulation=2)


@pytest.fixture
def make(tmp_path, write_index, row, bpe):
    for number in range(4):
        Image.new("RGB", (40, 30), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
    asked = "<image>\nWhat?"
    rows = [row("human", asked, "gpt", "x" * n, images=[f"{n}.png"], id=f"r{n}") for n in range(4)]
    rows += [row("human", "Hi", "gpt", "Yo", id="text"), row("human", asked, images=["no.png"], id="bad")]
    rows += [row("gpt", "Nobody asked.", id="mute")]
    long = row("human", asked, "gpt", "x" * 90, "human", asked, images=["0.png", "no.png"], id="long")
    index = write_index([*rows, long])
    encoder = ConversationEncoder(bpe, prompt_format("chat", bpe), image_tokens=4, max_length=64)
    pixels = Pixels(28, False, [0.5] * 3, [0.5] * 3)
    return lambda unreadable: ConversationDataset(index, tmp_path, encoder, pixels, unreadable)


@pytest.fixture
def dataset(make):
    return make("fail")


def test_a_sample_has_tokens_and_pixels(dataset):
    sample = dataset[3]
    assert sample.row_id == "r3"
    assert sample.input_ids.shape == sample.labels.shape
    (image,) = sample.images
    assert image.shape == (28, 28, 3)
    assert image.unique(dim=0).unique(dim=1).tolist() == [[[180, 0, 0]]]


def test_text_alone_has_no_pixels(dataset):
    assert dataset[4].images == ()


def test_images_behind_the_cut_are_not_read(dataset):
    sample = dataset[7]
    assert len(sample.input_ids) == 64
    assert len(sample.images) == 1


def test_a_missing_image_names_file_and_row(dataset):
    with pytest.raises(DataError, match=r"no\.png of row 'bad' is missing.*unreadable=skip"):
        dataset[5]


def test_a_row_without_question_is_named(dataset):
    with pytest.raises(DataError, match="'mute'"):
        dataset[6]


def test_what_cannot_be_read_may_be_skipped(make):
    rows = make("skip")
    bad, mute = rows[5], rows[6]
    assert isinstance(bad, Skipped)
    assert isinstance(mute, Skipped)
    assert (bad.row_id, bad.number, mute.row_id, mute.number) == ("bad", 5, "mute", 6)
    assert "no.png of row 'bad' is missing" in bad.reason
    assert rows[3].row_id == "r3"


def test_a_volume_that_fails_says_nothing_about_a_row(make, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(VolumeError, match=r"3\.png of row 'r3' be read \(Input/output error\)"):
        make("skip")[3]


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    return all(
        torch.equal(value, theirs[key]) if torch.is_tensor(value) else value == theirs[key]
        for key, value in ours.items()
    )


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(make, bpe, workers):
    """Two epochs, with rows that are skipped on the way."""

    def batches(workers):
        sampler, collate = EpochSampler(np.arange(8), SHAPE, 3), Collator(packed, bpe.pad_token_id)
        for epoch in range(2):
            sampler.start_at(epoch * sampler.steps)
            options = {"collate_fn": collate, "num_workers": workers}
            yield from DataLoader(make("skip"), SHAPE.micro, sampler=sampler, **options)

    alone, helped = list(batches(0)), list(batches(workers))
    assert sum(len(batch["facts"].skipped) for batch in alone) == 4
    assert len(alone) == len(helped) == 8
    assert all(map(same, alone, helped))

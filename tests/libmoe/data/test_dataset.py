"""Rows with their pictures, in this process and in loader workers."""

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from libmoe.config.errors import DataError
from libmoe.data.collator import Collator
from libmoe.data.conversation import ConversationEncoder
from libmoe.data.dataset import ConversationDataset
from libmoe.data.prompts import prompt_format


@pytest.fixture
def dataset(tmp_path, write_index, row, bpe):
    for number in range(4):
        Image.new("RGB", (40, 30), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
    asked = "<image>\nWhat?"
    rows = [row("human", asked, "gpt", "x" * n, images=[f"{n}.png"], id=f"r{n}") for n in range(4)]
    rows += [row("human", "Hi", "gpt", "Yo", id="text"), row("human", asked, images=["no.png"], id="bad")]
    encoder = ConversationEncoder(bpe, prompt_format("chat", bpe), image_tokens=4, max_length=64)
    processor = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    return ConversationDataset(write_index(rows), tmp_path, encoder, processor)


def test_a_sample_has_tokens_and_pixels(dataset):
    sample = dataset[3]
    assert sample.row_id == "r3"
    assert sample.input_ids.shape == sample.labels.shape
    (image,) = sample.images
    assert image.shape == (3, 28, 28)
    assert image[0].mean() > image[1].mean()


def test_text_alone_has_no_pixels(dataset):
    assert dataset[4].images == ()


def test_a_missing_image_names_file_and_row(dataset):
    with pytest.raises(DataError, match=r"no\.png of row 'bad'"):
        dataset[5]


def test_workers_change_nothing(dataset, bpe):
    collate = Collator(bpe.pad_token_id)
    order = [3, 0, 4, 2, 4, 4]

    def batches(workers):
        return list(DataLoader(dataset, 2, sampler=order, collate_fn=collate, num_workers=workers))

    for ours, theirs in zip(batches(0), batches(2), strict=True):
        assert ours.pop("facts") == theirs.pop("facts")
        for key, value in ours.items():
            assert torch.equal(value, theirs[key])

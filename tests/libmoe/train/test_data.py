"""A run's data from its settings."""

import numpy as np
import pytest
from PIL import Image

from libmoe.model.processor import build_processor, tokens_of_an_image
from libmoe.train.data import training_data

BLANK = Image.new("RGB", (8, 8))


@pytest.fixture(scope="module")
def data_of(tmp_path_factory, spec_of):
    def make(stage, *settings):
        spec = spec_of(tmp_path_factory.mktemp("run"), stage, "train.global_batch_size=8", *settings)
        processor = build_processor(spec.config, spec.models_dir)
        return training_data(spec, processor), processor

    return make


@pytest.mark.parametrize("stage", ["pretrain", "pft", "sft"])
def test_our_tokens_are_the_processors(data_of, stage):
    """Image tokens are put where transformers' own processor would, which generation uses."""
    data, processor = data_of(stage)
    sample = data.dataset[0]
    ids, count = sample.input_ids.tolist(), tokens_of_an_image(processor)
    assert ids.count(processor.image_token_id) == count == 16
    assert sample.images[0].shape == (168, 168, 3)
    start = ids.index(processor.image_token_id)
    text = processor.tokenizer.decode([*ids[: start + 1], *ids[start + count :]])
    theirs = processor(images=BLANK, text=text, add_special_tokens=False)
    assert ids == theirs["input_ids"][0]


def test_the_prompt_is_what_generation_asks_with(data_of):
    data, processor = data_of("sft")
    ids = data.dataset[0].input_ids.tolist()
    row = data.dataset._rows[0]
    asked = [{"role": "user", "content": row.turns[0].text}]
    prompt = processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    theirs = processor(images=BLANK, text=prompt)["input_ids"][0]
    assert ids[: len(theirs)] == list(theirs)


def test_every_row_of_the_sample_teaches_something(data_of):
    for stage in ("pretrain", "pft", "sft"):
        data, _ = data_of(stage)
        samples = [data.dataset[number] for number in range(len(data.dataset))]
        assert data.collator(samples)["facts"].unlabelled == ()


def test_lengths_are_good_enough_to_group_by(data_of):
    data, _ = data_of("sft")
    groups = data.sampler._groups
    lengths = [len(data.dataset[number].input_ids) for number in range(len(data.dataset))]
    assert np.corrcoef(lengths, groups.length)[0, 1] > 0.8
    assert groups.has_image.sum() == 48

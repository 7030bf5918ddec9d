"""Batches, with and without an image."""

import pytest
import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration, Phi3Config, SiglipVisionConfig, set_seed

from libmoe.data.collator import Collator
from libmoe.data.conversation import IGNORED
from libmoe.data.dataset import Sample

PAD, IMAGE, N_IMAGE = 0, 6, 4
COLLATE = Collator(pad_id=PAD, image_id=IMAGE, image_tokens=N_IMAGE, image_size=(28, 28))


def sample(name, length, image=False, learns=True):
    ids = torch.arange(10, 10 + length)
    if image:
        ids[1 : 1 + N_IMAGE] = IMAGE
    labels = ids.clone() if learns else torch.full_like(ids, IGNORED)
    labels[: length // 2] = IGNORED
    return Sample(name, ids, labels, (torch.rand(3, 28, 28),) if image else ())


@pytest.fixture(scope="module")
def model():
    set_seed(0)
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    text = Phi3Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE, vision_feature_select_strategy="full"
    )
    return LlavaForConditionalGeneration(config)


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


def test_text_alone_gets_a_masked_blank_image():
    batch = COLLATE([sample("a", 12), sample("b", 9)])
    assert batch["facts"].images == 0
    assert batch["pixel_values"].shape == (1, 3, 28, 28)
    assert (batch["input_ids"] == IMAGE).sum() == N_IMAGE
    assert batch["attention_mask"].sum(dim=1).tolist() == [12, 9]
    assert batch["input_ids"].shape == (2, 13)
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()


def test_the_blank_image_changes_no_loss_and_reaches_every_parameter(model):
    batch = COLLATE([sample("a", 12), sample("b", 9)])
    batch.pop("facts")
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    plain = {key: value[:, :12] for key, value in batch.items() if key != "pixel_values"}
    plain["input_ids"] = plain["input_ids"].where(plain["input_ids"] != IMAGE, PAD)
    torch.testing.assert_close(loss, model(**plain).loss)
    connector = [*model.model.multi_modal_projector.parameters()]
    tower = [*model.model.vision_tower.encoder.layers[0].parameters()]
    for parameter in connector + tower:
        assert parameter.grad is not None
        assert (parameter.grad == 0).all()

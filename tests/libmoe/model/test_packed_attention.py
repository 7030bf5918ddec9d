"""Packed samples give the loss and the gradients that they give apart."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, MambaConfig

from libmoe.config.errors import ConfigError
from libmoe.config.layers import Layer, resolve
from libmoe.data.conversation import IGNORED
from libmoe.data.dataset import Sample
from libmoe.data.layout import Layout, packed, padded
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import model_config
from libmoe.model.packed_attention import NAME, attend_within_samples

IMAGE, PAD, N_IMAGE = 6, 0, 16
SIZES = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "vocab_size": 1024}
LLAMA = {"model_type": "llama", **SIZES, "num_attention_heads": 4, "num_key_value_heads": 2}
QWEN2 = {**LLAMA, "model_type": "qwen2"}
QUIET = {"balance_coefficient": 0.0, "z_coefficient": 0.0}
Model = LibmoeForConditionalGeneration


def make(moe: dict[str, Any], language: dict[str, Any] | None = None) -> Model:
    """In float64; the same weights at every call."""
    torch.manual_seed(7)
    settings = {"moe": moe, "model": {"language": {"config": language or {}}}}
    config = resolve("sft", "tiny", [Layer("test", settings)]).config
    model = LibmoeForConditionalGeneration(model_config(config, IMAGE)).double().train()
    for name, parameter in model.named_parameters():
        if "router" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def sample(seed: int, length: int, images: int = 0, learns: bool = True) -> Sample:
    """Images at the second token and after each other's, with a token between; the rest is text."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(20, 1000, (length,), generator=random)
    for number in range(images):
        ids[1 + number * (N_IMAGE + 1) :][:N_IMAGE] = IMAGE
    labels = torch.where((ids == IMAGE) | (not learns), IGNORED, ids)
    pixels = torch.randn(images, 3, 168, 168, generator=random, dtype=torch.float64)
    return Sample(str(seed), ids, labels, tuple(pixels))


SAMPLES = [sample(1, 30, 1), sample(2, 9), sample(3, 50, 2), sample(4, 1), sample(5, 12, learns=False)]
TEXTS = [sample(6, 14), sample(7, 5)]


def outcome(model: Model, batches: Sequence[Sequence[Sample]], layout: Layout) -> dict[str, Tensor]:
    """Loss and gradients over all batches, divided by all labels as the Trainer does."""
    labels = torch.tensor(sum(int((s.labels[1:] != IGNORED).sum()) for batch in batches for s in batch))
    total = torch.zeros(())
    for batch in batches:
        images = [image for s in batch for image in s.images]
        pixels = {"pixel_values": torch.stack(images)} if images else {}
        loss = model(**layout(batch), **pixels, num_items_in_batch=labels).loss
        loss.backward()
        total = total + loss.detach()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": total, **gradients}


def eager(model: Model) -> None:
    model.model.language_model.set_attn_implementation("eager")


def one_by_one(model: Model) -> None:
    attend_within_samples(model.model.language_model)
    assert model.model.language_model.config._attn_implementation == NAME


def with_checkpointing(model: Model) -> None:
    one_by_one(model)
    model.activation_checkpointing_enable({"use_reentrant": False})


def with_a_mask(model: Model) -> None:
    assert model.model.language_model.config._attn_implementation == "sdpa"


WAYS = [one_by_one, with_checkpointing, with_a_mask, eager]


@pytest.mark.parametrize("samples", [SAMPLES, TEXTS], ids=["images", "text"])
@pytest.mark.parametrize("prepare", WAYS)
def test_packed_samples_are_samples_apart(prepare: Callable[[Model], None], samples: list[Sample]) -> None:
    """With experts in every part; their losses are means over what is computed together, so without them."""
    moe = {"where": ["vision", "connector", "language"], **QUIET}
    apart = outcome(make(moe), [[one] for one in samples], padded(PAD))
    model = make(moe)
    prepare(model)
    together = outcome(model, [samples], packed)
    # Eager attention takes its softmax in float32; gradients near 1 then differ by up to 1e-6, by the CPU.
    exact = 1e-5 if prepare is eager else 1e-10
    loss = {"rtol": 1e-6, "atol": 0.0}  # as does the loss of transformers
    torch.testing.assert_close(together.pop("loss"), apart.pop("loss"), **loss, check_dtype=False)
    assert together.keys() == apart.keys()
    assert any("language_model.layers.1.mlp.experts" in name for name in together)
    torch.testing.assert_close(together, apart, rtol=0, atol=exact)


@pytest.mark.parametrize("language", [LLAMA, QWEN2], ids=["llama", "qwen2"])
def test_so_they_are_in_other_language_models(language: dict[str, Any]) -> None:
    apart = outcome(make({"name": "none"}, language), [[one] for one in SAMPLES], padded(PAD))
    model = make({"name": "none"}, language)
    one_by_one(model)
    torch.testing.assert_close(outcome(model, [SAMPLES], packed), apart, rtol=1e-6, atol=1e-10)


def test_router_losses_of_tower_and_connector_are_those_of_the_padded_batch() -> None:
    moe = {"balance_coefficient": 1.0, "z_coefficient": 0.5}
    model = make(moe)
    one_by_one(model)
    rows, row = outcome(make(moe), [SAMPLES], padded(PAD)), outcome(model, [SAMPLES], packed)
    torch.testing.assert_close(row, rows, rtol=1e-6, atol=1e-10)


def test_without_positions_samples_would_see_each_other() -> None:
    def careless(samples: Sequence[Sample]) -> dict[str, Any]:
        return {key: value for key, value in packed(samples).items() if key != "position_ids"}

    apart = outcome(make({"name": "none"}), [[one] for one in SAMPLES], padded(PAD))
    seen = outcome(make({"name": "none"}), [SAMPLES], careless)
    name = "model.language_model.layers.0.self_attn.qkv_proj.weight"
    assert (seen[name] - apart[name]).abs().max() > 1e-4


def test_a_model_that_carries_state_is_refused() -> None:
    mamba = AutoModel.from_config(MambaConfig(hidden_size=8, num_hidden_layers=1, vocab_size=10))
    with pytest.raises(ConfigError, match=r"mamba carries its state .* data\.packing=false"):
        attend_within_samples(mamba)


def test_a_batch_without_boundaries_is_refused() -> None:
    model = make({"name": "none"})
    one_by_one(model)
    with pytest.raises(ConfigError, match=r"phi3 does not tell .* data\.packing=false"):
        model(**padded(PAD)(TEXTS))


def test_samples_longer_than_the_window_are_refused() -> None:
    model = make({"name": "none"}, {"sliding_window": 10})
    one_by_one(model)
    assert model(**packed([TEXTS[1]])).loss.isfinite()
    with pytest.raises(ConfigError, match=r"sample of 14 tokens exceeds .* window of 10"):
        model(**packed(TEXTS))

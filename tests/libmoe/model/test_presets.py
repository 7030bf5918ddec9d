"""The presets' models against parameter counts by hand and as published."""

import pytest
from torch import nn

from libmoe.config.layers import Layer, presets, resolve
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import model_config
from libmoe.model.skeleton import skeleton


def dense(width_in: int, width_out: int) -> int:
    return width_in * width_out + width_out


def encoder_layer(width: int, hidden: int) -> int:
    return 4 * dense(width, width) + mlp(width, hidden, width) + 2 * 2 * width


def mlp(width: int, hidden: int, out: int) -> int:
    return dense(width, hidden) + dense(hidden, out)


def decoder(width: int, hidden: int, layers: int, vocabulary: int, heads: int) -> int:
    layer = 4 * width * width + 3 * width * hidden + 2 * width
    return heads * vocabulary * width + layers * layer + width


SIGLIP_LAYER = encoder_layer(1152, 4304)
SIGLIP = dense(3 * 14 * 14, 1152) + 256 * 1152 + 26 * SIGLIP_LAYER  # of 27; no head, no last norm
CLIP_LAYER = encoder_layer(1024, 4096)
CLIP = 3 * 14 * 14 * 1024 + 1024 + 577 * 1024 + 2 * 1024 + 23 * CLIP_LAYER  # of 24; no last norm
PHI = decoder(3072, 8192, 32, 32064, heads=2)
SMOLLM = decoder(2048, 8192, 24, 49152, heads=1)
SIZES = {
    "phi35-siglip224": (SIGLIP, mlp(2304, 3072, 3072), PHI),
    "phi35-clip336": (CLIP, mlp(2048, 3072, 3072), PHI),
    "smollm-siglip224": (SIGLIP, mlp(2304, 2048, 2048), SMOLLM),
}
EXPERTS = {  # five more in every vision layer that is computed and in the connector, and the routers
    "phi35-siglip224": 5 * (26 * mlp(1152, 4304, 1152) + mlp(2304, 3072, 3072)) + 6 * (26 * 1152 + 2304),
    "phi35-clip336": 5 * (23 * mlp(1024, 4096, 1024) + mlp(2048, 3072, 3072)) + 6 * (23 * 1024 + 2048),
    "smollm-siglip224": 5 * (26 * mlp(1152, 4304, 1152) + mlp(2304, 2048, 2048)) + 6 * (26 * 1152 + 2304),
}
IMAGE_TOKENS = {"phi35-siglip224": 256, "phi35-clip336": 576, "smollm-siglip224": 256}


def build(stage: str, preset: str, *overrides: Layer) -> LibmoeForConditionalGeneration:
    run = resolve(stage, preset, list(overrides)).config
    return skeleton(model_config(run, image_token_id=run.model.language.config["vocab_size"]))


def count(*modules: nn.Module) -> int:
    return sum(value.numel() for value in {p for module in modules for p in module.parameters()})


def test_every_preset_is_counted() -> None:
    assert {*SIZES, "tiny"} == set(presets())


def test_backbones_have_the_published_sizes() -> None:
    assert PHI == 3_821_079_552
    assert SMOLLM == 1_711_376_384
    assert CLIP + CLIP_LAYER + 2 * 1024 == 303_507_456
    head = 1152 + 4 * dense(1152, 1152) + 2 * 1152 + mlp(1152, 4304, 1152)
    more_positions_at_384 = (27 * 27 - 16 * 16) * 1152
    assert SIGLIP + SIGLIP_LAYER + 2 * 1152 + head + more_positions_at_384 == 428_225_600


@pytest.mark.parametrize("preset", SIZES)
def test_parts_have_the_parameters_counted_by_hand(preset: str) -> None:
    model = build("pft", preset)
    counted = [count(*model.part(part)) for part in ("vision", "connector", "language")]
    assert counted == list(SIZES[preset])
    assert model.config.image_seq_length == IMAGE_TOKENS[preset]
    mixed = build("sft", preset)
    assert count(mixed) == sum(SIZES[preset]) + EXPERTS[preset]
    assert all(parameter.is_meta for parameter in mixed.parameters())


def test_experts_in_every_second_language_layer() -> None:
    moe = {"where": ["language"], "layers": {"language": "every 2"}, "experts": 4, "top_k": 2}
    model = build("sft", "phi35-siglip224", Layer("test", {"moe": moe}))
    more = 16 * (3 * 3 * 3072 * 8192 + 4 * 3072)
    assert count(model) == sum(SIZES["phi35-siglip224"]) + more


def test_towers_see_their_own_colours() -> None:
    clip = resolve("sft", "phi35-clip336", []).config.model
    assert clip.image_mean == (0.48145466, 0.4578275, 0.40821073)
    assert clip.image_std == (0.26862954, 0.26130258, 0.27577711)

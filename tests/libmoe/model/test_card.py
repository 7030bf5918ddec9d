"""The card that is written beside a saved model."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from libmoe.config.run import Annotations, RunSpec
from libmoe.model.build import build_model
from libmoe.model.card import write_card
from libmoe.model.processor import build_processor

MakeSpec = Callable[..., RunSpec]


def test_it_says_what_the_model_is_and_how_to_load_it(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"vision": {"licence": "MIT"}}
    spec = make_spec("sft", {"model": named, "moe": {"where": ["vision", "language"]}}, seed=7)
    data = Annotations(name="sample-sft-json", index=tmp_path / "x.arrow", sha256="ab12", rows=1200)
    spec = spec.model_copy(
        update={
            "annotations": data,
            "versions": {"torch": "2.13.0"},
            "init_from": tmp_path / "pft" / "model",
        }
    )
    model = build_model(spec.model_copy(update={"init_from": None}))
    model.save_pretrained(tmp_path)
    build_processor(spec.config, spec.models_dir).save_pretrained(tmp_path)
    write_card(tmp_path, spec)
    text = (tmp_path / "README.md").read_text()
    card = ModelCard(text)
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "image-text-to-text")
    vision, language = (
        sum(value.numel() for module in model.part(part) for value in module.parameters())
        for part in ("vision", "language")
    )
    for expected in (
        "# tiny, stage sft",
        f"{sum(value.numel() for value in model.parameters()):,} parameters",
        "Of 6 experts `smoe` chooses 3 for each token, in: vision, language.",
        f"| vision | siglip_vision_model | {vision:,} | yes | random | MIT |",
        f"| language | phi3 | {language:,} | yes | random |  |",
        "| data | sample-sft-json, 1,200 rows, sha256 `ab12` |",
        "| started from | pft/model |",
        "| seed | 7 |",
        "| torch | 2.13.0 |",
    ):
        assert expected in text
    assert str(tmp_path) not in text
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    loaded: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(code, loaded)
    assert type(loaded["model"]) is type(model)
    assert loaded["processor"].image_token == "<image>"


def test_base_weights_are_credited(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("pretrain")
    build_model(spec).save_pretrained(tmp_path)
    parts = {
        "vision": {"weights": "g/siglip", "licence": "Apache-2.0"},
        "language": {"weights": "m/phi", "licence": "MIT"},
    }
    origins = {
        "model.vision.licence": "preset tiny",  # of other weights, then
        "model.vision.weights": "--set model.vision.weights",
        "model.language.licence": "--set model.language.licence",
        "model.language.weights": "--set model.language.weights",
    }
    write_card(tmp_path, make_spec("pretrain", {"model": parts}).model_copy(update={"provenance": origins}))
    text = (tmp_path / "README.md").read_text()
    assert ModelCard(text).data.base_model == ["g/siglip", "m/phi"]
    assert "A dense model." in text
    assert re.search(r"\| vision .*\| no \| g/siglip \| unknown \|", text)
    assert re.search(r"\| language .*\| no \| m/phi \| MIT \|", text)
    assert re.search(r"\| connector .*\| yes \|", text)

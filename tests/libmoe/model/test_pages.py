"""The snippets of docs/models.md, docs/statistics.md and docs/counting.md run as they are printed."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.processor import build_processor
from libmoe.moe.statistics import LayerSummary

DOCS = Path(__file__).parents[3] / "docs"


def run_snippet(page: str) -> dict[str, Any]:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


@pytest.fixture
def run(
    moe_model: LibmoeForConditionalGeneration,
    make_spec: Any,
    photograph: Image.Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder with RUN/model and photo.jpg, to be in."""
    monkeypatch.chdir(tmp_path)
    spec = make_spec("sft")
    moe_model.save_pretrained("RUN/model")
    build_processor(spec.config, spec.models_dir).save_pretrained("RUN/model")
    photograph.save("photo.jpg")


@pytest.mark.usefixtures("run")
def test_a_saved_model_and_its_pipeline() -> None:
    names = run_snippet("models.md")
    assert type(names["model"]) is LibmoeForConditionalGeneration
    turn = names["answer"][0]["generated_text"][-1]
    assert turn["role"] == "assistant"
    assert turn["content"]


@pytest.mark.usefixtures("run")
def test_statistics_of_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    summary = run_snippet("statistics.md")["statistics"].summary()
    assert capsys.readouterr().out.splitlines()[-1].startswith("model.multi_modal_projector [")
    assert {layer.tokens for layer in summary.values()} == {160, 16}


def test_every_figure_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", (DOCS / "statistics.md").read_text(), re.MULTILINE)
    assert explained == [field.name for field in fields(LayerSummary)]


def test_counting() -> None:
    names = run_snippet("counting.md")
    assert (
        15 * 2**30
        < names["count_memory"](names["model"], names["run"], ranks=4, tokens=700).device
        < 30 * 2**30
    )

"""``README.md`` beside a saved model: what it is, what it was made of and with, and how to load it."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from libmoe.config.run import RunSpec
from libmoe.config.schema import BackboneConfig, Part, RunConfig
from libmoe.model.config import LibmoeConfig
from libmoe.model.modeling import LibmoeForConditionalGeneration
from libmoe.model.skeleton import skeleton

_CARD = """---
library_name: transformers
pipeline_tag: image-text-to-text
{base_model}tags:
- libmoe
- mixture-of-experts
---

# {preset}, stage {stage}

{parameters} parameters. {experts}

| part | model | parameters | trained | weights it began with | their licence |
|---|---|---:|---|---|---|
{parts}

## How to load it

```python
import libmoe.model  # registers the classes
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained(".")  # this folder
processor = AutoProcessor.from_pretrained(".")
```

`python -m libmoe.generate --checkpoint . --image FILE --prompt TEXT` answers from the command line.

## How it was made

| | |
|---|---|
{facts}
"""


def write_card(folder: Path, spec: RunSpec) -> None:
    """Describes the model that a run saved in ``folder``."""
    run = spec.config
    model = skeleton(LibmoeConfig.from_pretrained(folder))
    weights = [part.weights for part in (run.model.vision, run.model.language) if part.weights]
    card = _CARD.format(
        base_model="".join(["base_model:\n", *(f"- {name}\n" for name in weights)] if weights else ""),
        preset=run.preset,
        stage=run.stage,
        parameters=f"{_count(model):,}",
        experts=_experts(run),
        parts="\n".join(_row(part, spec, model) for part in ("vision", "connector", "language")),
        facts="\n".join(f"| {name} | {value} |" for name, value in _facts(spec).items()),
    )
    (folder / "README.md").write_text(card)


def _experts(run: RunConfig) -> str:
    moe = run.moe
    if moe.name == "none":
        return "A dense model."
    places = ", ".join(moe.where)
    return f"Of {moe.experts} experts `{moe.name}` chooses {moe.top_k} for each token, in: {places}."


def _row(part: Part, spec: RunSpec, model: LibmoeForConditionalGeneration) -> str:
    run, modules = spec.config, model.part(part)
    trained = "yes" if part in run.train.trainable else "no"
    count = f"{_count(*modules):,}"
    if part == "connector":
        return f"| connector | | {count} | {trained} | | |"
    source = run.model.vision if part == "vision" else run.model.language
    weights = source.weights or "random"
    licence = _licence(part, source, spec.provenance) or ("unknown" if source.weights else "")
    return f"| {part} | {source.config['model_type']} | {count} | {trained} | {weights} | {licence} |"


def _licence(part: Part, source: BackboneConfig, provenance: Mapping[str, str]) -> str | None:
    """None where the licence is the preset's but the weights are not."""
    weights, licence = (provenance.get(f"model.{part}.{key}", "") for key in ("weights", "licence"))
    return source.licence if weights == licence or not licence.startswith("preset") else None


def _facts(spec: RunSpec) -> dict[str, str]:
    """Rows of the last table; no path of the machine is among them."""
    data = spec.annotations
    origin = "base weights" if spec.init_from is None else "/".join(spec.init_from.parts[-2:])
    return {
        "data": f"{data.name}, {data.rows:,} rows, sha256 `{data.sha256}`",
        "started from": origin,
        "seed": str(spec.config.seed),
        "ranks": f"{spec.world.size} on {spec.world.device}",
        "settings": "all of them are in the run's `run.json`",
        **spec.versions,
    }


def _count(*modules: nn.Module) -> int:
    return sum(value.numel() for value in {p for module in modules for p in module.parameters()})

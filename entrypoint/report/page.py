"""A run as one HTML page that needs nothing beside itself, light or dark as its reader likes."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from statistics import median
from string import Template

from entrypoint import console
from entrypoint.prepare.screen.speed import duration
from entrypoint.report.curves import Curve, chart
from entrypoint.report.heat import heat_map
from entrypoint.report.stage import StageRun, read_stages
from libmoe.config.layers import flatten

_FALLING = 3
"""The first panels show what may fall by powers of ten."""


def write_report(run: Path, output: Path) -> Path:
    """Writes the page about a run (a stage's folder, or the one above several).

    Raises:
        DataError: there is no run, or it has made no step.
        OSError: the page cannot be written.
    """
    page = render(read_stages(run))
    draft = output.with_name(f".{output.name}.draft")
    draft.write_text(page)
    return draft.replace(output)


def render(stages: Sequence[StageRun]) -> str:
    """The page as text."""
    config = stages[-1].spec.config
    template = Template((resources.files("entrypoint.report") / "page.html").read_text())
    return template.substitute(
        title=escape(f"libmoe run: {config.preset} / {', '.join(one.spec.config.stage for one in stages)}"),
        subtitle=escape(f"{config.moe.name} routing, seed {config.seed}, in {stages[-1].spec.run_dir}"),
        stages="\n".join(_stage(stage) for stage in stages),
    )


def _stage(stage: StageRun) -> str:
    config = stage.spec.config
    state = "finished" if stage.done else "not finished"
    words = f"{state} at step {stage.steps[-1]['step']}, trains {', '.join(config.train.trainable)}"
    return (
        f"<section><h2>{escape(config.stage)}</h2>"
        f'<p class="faint">{escape(words)}; {escape(stage.spec.annotations.name)},'
        f" {stage.spec.annotations.rows} rows</p>"
        f"{_cards(stage)}{_curves(stage)}{_loads(stage)}{_tables(stage)}</section>"
    )


def _cards(stage: StageRun) -> str:
    steps = stage.steps
    seconds = sum(step["seconds"] for step in steps)
    images = sum(step["images"] for step in steps)
    figures = {
        "steps": str(steps[-1]["step"]),
        "first loss": f"{steps[0]['loss']:.4g}",
        "last loss": f"{steps[-1]['loss']:.4g}",
        "time in steps": duration(seconds),
        "tokens/s, median": f"{median(step['tokens_per_s'] for step in steps):,.0f}",
        "images/s, mean": f"{images / seconds:,.1f}",
        **_utilization(stage),
        "memory of a rank": console.size(max(step["memory_bytes"] for step in steps)),
        "ranks": f"{stage.spec.world.size} {stage.spec.world.device}",
    }
    cards = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in figures.items()
    )
    return f'<div class="cards">{cards}</div>'


def _utilization(stage: StageRun) -> dict[str, str]:
    shares = [value for _, value in stage.curve("mfu").points]
    return {"MFU, median": f"{median(shares):.1%}"} if shares else {}


def _curves(stage: StageRun) -> str:
    losses = [stage.curve("loss")]
    if stage.curve("balance_loss").points:
        losses.append(stage.curve("lm_loss", "language model"))
    panels = [
        ("Loss", losses),
        ("Auxiliary losses", [stage.curve("balance_loss", "balance"), stage.curve("z_loss", "z")]),
        ("Gradient norm", [stage.curve("grad_norm", "before clipping")]),
        ("Learning rate", [stage.curve("lr", "learning rate")]),
        ("Throughput", [stage.curve("tokens_per_s", "tokens/s")]),
        ("MFU", [stage.curve("mfu", "share of the GPUs' peak")]),
        ("Memory of a rank, GiB", [_in_gib(stage.curve("memory_bytes", "peak so far"))]),
    ]
    drawn = "".join(
        chart(title, curves, falls=number < _FALLING)
        for number, (title, curves) in enumerate(panels)
        if any(curve.points for curve in curves)
    )
    return f'<div class="charts">{drawn}</div>'


def _in_gib(curve: Curve) -> Curve:
    return Curve(curve.name, [(step, value / 2**30) for step, value in curve.points])


def _loads(stage: StageRun) -> str:
    maps = [heat_map(layer, loads) for layer in stage.layers if (loads := stage.loads(layer))]
    if not maps:
        return ""
    note = "Assignments that each expert got in sampled steps: blue less, orange more than an even share."
    return f'<h3>Expert load</h3><p class="faint">{note}</p><div class="charts">{"".join(maps)}</div>'


def _tables(stage: StageRun) -> str:
    spec = stage.spec
    settings = flatten(spec.config.model_dump(mode="json"))
    rows = ((key, value, spec.provenance.get(key, "")) for key, value in settings.items())
    made_with = {**spec.versions, **spec.hardware, **_origin(stage)}
    return _details("Settings, and where each came from", rows) + _details(
        "Made with", ((key, value) for key, value in made_with.items())
    )


def _origin(stage: StageRun) -> Mapping[str, object]:
    spec = stage.spec
    return {
        "annotations sha256": spec.annotations.sha256,
        "started from": spec.init_from or "base weights",
        "accumulation steps": spec.accumulation_steps,
    }


def _details(title: str, rows: Iterable[Sequence[object]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<details><summary>{escape(title)}</summary><table>{lines}</table></details>"

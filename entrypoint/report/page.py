"""A run as one HTML page that needs nothing beside itself, light or dark as its reader likes."""

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from statistics import median
from string import Template

from entrypoint import console
from entrypoint.prepare.screen.speed import duration
from entrypoint.report.curves import Curve, chart
from entrypoint.report.heat import heat_map, key
from entrypoint.report.stage import StageRun, read_stages
from entrypoint.report.tables import given, tables
from libmoe.config.whole_files import write_whole

_FALLING = 3
"""The first panels show what may fall by powers of ten."""


def write_report(run: Path, output: Path) -> Path:
    """Writes the page about a run (a stage's folder, or the one above several).

    Raises:
        DataError: there is no run, or it has made no step.
        OSError: the page cannot be written.
    """
    return write_whole(output, render(read_stages(run)))


def render(stages: Sequence[StageRun]) -> str:
    """The page as text."""
    spec = stages[-1].spec
    names = ", ".join(one.spec.config.stage for one in stages)
    folder = spec.run_dir if len(stages) == 1 else spec.run_dir.parent
    world = f"{spec.world.size} {'rank' if spec.world.size == 1 else 'ranks'} on {spec.world.device}"
    machine = ", ".join([world, *filter(None, [spec.hardware.get("devices")])])
    template = Template((resources.files("entrypoint.report") / "page.html").read_text())
    return template.substitute(
        title=escape(f"libmoe run: {spec.config.preset} / {names}"),
        subtitle=escape(f"{spec.config.moe.name} routing, seed {spec.config.seed}; {machine}; {folder}"),
        overview=_overview(stages) if len(stages) > 1 else "",
        stages="\n".join(_stage(stage) for stage in stages),
    )


def _overview(stages: Sequence[StageRun]) -> str:
    """A row a stage, which leads to its section."""
    rows = "".join(
        f'<tr><td><a href="#{stage.spec.config.stage}">{stage.spec.config.stage}</a></td>'
        f"<td>{stage.state}</td><td>{_first_loss(stage)} → {_last_loss(stage)}</td>"
        f"<td>{duration(stage.seconds)}</td></tr>"
        for stage in stages
    )
    return (
        '<table class="overview"><tr><th>stage</th><th></th><th>loss</th><th>time in steps</th></tr>'
        f"{rows}</table>"
    )


def _stage(stage: StageRun) -> str:
    config = stage.spec.config
    words = (
        f"{stage.state}; trains {', '.join(config.train.trainable)}; "
        f"{stage.spec.annotations.name}, {stage.spec.annotations.rows:,} rows"
    )
    asked = given(stage)
    return (
        f'<section id="{config.stage}"><h2>{config.stage}</h2>'
        f'<p class="faint">{escape(words)}{escape(f"; set for this run: {asked}" if asked else "")}</p>'
        f"{_cards(stage)}{_curves(stage)}{_loads(stage)}{tables(stage)}</section>"
    )


def _cards(stage: StageRun) -> str:
    images = sum(step["images"] for step in stage.steps)
    figures = {
        "steps": f"{stage.steps[-1]['step']:,}",
        "first loss": _first_loss(stage),
        "last loss": _last_loss(stage),
        "time in steps": duration(stage.seconds),
        "tokens/s, median": f"{median(step['tokens_per_s'] for step in stage.steps):,.0f}",
        "images/s, mean": f"{images / stage.seconds:,.1f}",
        **_utilization(stage),
        "peak of a rank": console.size(max(step["memory_bytes"] for step in stage.steps)),
        "rows left out": f"{stage.rows_left_out:,}",
    }
    cards = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in figures.items()
    )
    return f'<div class="cards">{cards}</div>'


def _first_loss(stage: StageRun) -> str:
    return f"{stage.steps[0]['loss']:.4g}"


def _last_loss(stage: StageRun) -> str:
    return f"{stage.steps[-1]['loss']:.4g}"


def _utilization(stage: StageRun) -> dict[str, str]:
    shares = [value for _, value in stage.curve("mfu").points]
    return {"MFU, median": f"{median(shares):.1%}"} if shares else {}


def _curves(stage: StageRun) -> str:
    losses = [stage.curve("loss")]
    if stage.curve("balance_loss").points:
        losses.append(stage.curve("lm_loss", "lm"))
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
    note = "a row an expert, a column a sampled step; its share of the assignments, next to an even one:"
    return f'<h3>Expert load</h3><p class="faint">{note} {key()}</p><div class="charts">{"".join(maps)}</div>'

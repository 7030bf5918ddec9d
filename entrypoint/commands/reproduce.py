"""``libmoe reproduce``: a run once more from its manifest, and whether it leads to the same numbers."""

from pathlib import Path

import click

from entrypoint.commands._json_option import json_option


@click.command()
@click.argument("run_json", type=click.Path(path_type=Path))
@click.option("--steps", type=click.IntRange(min=1), help="Only the first ones.  [default: all it made]")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="Relative, of every number.  [default: 0 for a deterministic run on the same machine, else 0.01]",
)
@json_option()
def command(run_json: Path, steps: int | None, tolerance: float | None, as_json: bool) -> None:
    """Run RUN_JSON again and compare every loss. Exits with 65 if one differs, and says what has changed."""
    from entrypoint import console
    from entrypoint.reproduce.again import reproduce, require_same
    from libmoe.config.run import RunSpec

    manifest = run_json / "run.json" if run_json.is_dir() else run_json
    found = reproduce(manifest, console.say, steps, tolerance)
    if as_json:
        console.result(found.as_dict())
    require_same(found, RunSpec.read(manifest).data_dir)
    equal, made = found.comparison.equal, found.comparison.steps
    console.say(f"Reproduced: {equal} of {made} steps are the same bit for bit, all within the tolerance.")

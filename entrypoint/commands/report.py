"""``libmoe report``: a run as one HTML page."""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where it goes.  [default: RUN/report.html]",
)
def command(run: Path, output: Path | None) -> None:
    """Write one self-contained page about RUN: a stage's folder, or the folder above its stages."""
    from entrypoint import console
    from entrypoint.report.page import write_report
    from libmoe.config.errors import VolumeError

    target = output or run / "report.html"
    try:
        written = write_report(run, target)
    except OSError as error:
        raise VolumeError(f"Cannot write {target}: {error.strerror}; name another by --output.") from error
    console.say(f"The report is {written}")

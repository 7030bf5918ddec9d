"""``libmoe demo``: the whole job, and what came of it."""

from pathlib import Path

import click

from entrypoint.commands._json_option import json_option


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default="demo",
    show_default=True,
    help="Its folder.",
)
@json_option()
def command(folder: Path, as_json: bool) -> None:
    """The whole job on this machine's CPU with the bundled sample, offline."""
    from entrypoint import console
    from entrypoint.demo import Demo, require_learned
    from entrypoint.launch import summary
    from entrypoint.prepare.screen import progress

    demo = Demo(folder.absolute())
    console.say("1/3 prepare: the sample from a server on this machine")
    with progress.watcher() as emit:
        missing = demo.prepare(emit)
    if not missing:
        console.say("nothing to fetch, nothing to unpack")
    console.say("2/3 train: three stages, two DeepSpeed ranks on the CPU")
    specs = demo.train(console.say)
    console.say("3/3 generate: the model captions the photographs it was trained on")
    captions = demo.captions(specs[-1].model_dir)
    stages = [summary.trained(spec) for spec in specs]
    exact = sum(caption.exact for caption in captions)
    if as_json:
        console.result(
            {
                "stages": stages,
                "captions": [vars(caption) | {"exact": caption.exact} for caption in captions],
                "exact": exact,
                "report": str(demo.page),
            }
        )
    else:
        console.table(*summary.table(stages))
        rows = [("yes" if c.exact else "NO", c.photo, c.truth, c.answer) for c in captions]
        console.table("Captions", ("exact", "photograph", "truth", "model"), rows)
        console.say(f"{exact} of {len(captions)} captions are exact.")
        console.say(f"Model: {specs[-1].model_dir}")
        console.say(f"Report: {demo.page} (curves, expert load, settings; open it in a browser)")
    require_learned(captions)

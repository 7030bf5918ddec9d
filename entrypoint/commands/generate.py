"""``libmoe generate``: hands the questions to the model's own process."""

from pathlib import Path

import click

from entrypoint.commands._model_process import hand_over


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True, help="A run's model/ folder.")
@click.option("--image", type=click.Path(path_type=Path), multiple=True, help="An image; may be repeated.")
@click.option("--prompt", help="What to ask about the images.")
@click.option(
    "--requests",
    type=click.Path(path_type=Path),
    help='Many questions: a file of JSON lines {"images": [...], "prompt": "..."}.',
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="The longest an answer may be.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of the text alone.")
def command(
    checkpoint: Path,
    image: tuple[Path, ...],
    prompt: str | None,
    requests: Path | None,
    max_new_tokens: int,
    as_json: bool,
) -> None:
    """Answer a prompt about an image with a trained model."""
    from libmoe.config.errors import UsageError

    if (prompt is None) == (requests is None) or (requests and image):
        raise UsageError("Say what to ask: --image FILE --prompt TEXT, or many at once with --requests FILE.")
    arguments = ["--checkpoint", str(checkpoint), "--max-new-tokens", str(max_new_tokens)]
    arguments += [word for path in image for word in ("--image", str(path))]
    arguments += ["--prompt", prompt] if prompt is not None else ["--requests", str(requests)]
    arguments += ["--json"] if as_json else []
    hand_over("libmoe.generate", arguments)

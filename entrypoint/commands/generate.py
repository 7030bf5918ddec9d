"""``libmoe generate``: hands the question to the model's own process."""

from pathlib import Path

import click


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True, help="A run's model/ folder.")
@click.option("--image", type=click.Path(path_type=Path), required=True, help="An image file.")
@click.option("--prompt", required=True, help="What to ask about it.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True)
def command(checkpoint: Path, image: Path, prompt: str, max_new_tokens: int) -> None:
    """Answer a prompt about an image with a trained model."""
    import subprocess
    import sys

    arguments = ["--checkpoint", str(checkpoint), "--image", str(image), "--prompt", prompt]
    arguments += ["--max-new-tokens", str(max_new_tokens)]
    click.get_current_context().exit(
        subprocess.run([sys.executable, "-m", "libmoe.generate", *arguments]).returncode
    )

"""Draws the README's picture of a report, light and dark, from a run that `make demo` left:

python docs/images/draw.py demo/data/runs/tiny/sft     needs chromium
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from entrypoint.report.page import write_report

HERE = Path(__file__).parent
SIZE = "1280,960"
COLOURS = 96  # a quarter of the bytes, and nothing that an eye sees


def draw(run: Path) -> None:
    """Writes ``report-light.png`` and ``report-dark.png`` beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        page = write_report(run, Path(folder) / "report.html")
        for mode, option in (("light", ()), ("dark", ("--force-dark-mode",))):
            picture = HERE / f"report-{mode}.png"
            command = ["chromium", "--headless", "--no-sandbox", f"--user-data-dir={folder}", *option]
            command += [
                "--hide-scrollbars",
                f"--window-size={SIZE}",
                f"--screenshot={picture}",
                page.as_uri(),
            ]
            subprocess.run(command, check=True, capture_output=True)
            Image.open(picture).convert("RGB").quantize(COLOURS).save(picture, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))

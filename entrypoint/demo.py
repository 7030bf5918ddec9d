"""The whole job on one machine: serve the sample, prepare it, train three stages, ask the model."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from entrypoint.launch.run import Training
from entrypoint.launch.world import choose_devices
from entrypoint.prepare.events import Emit
from entrypoint.report.page import write_report
from entrypoint.sample import CAPTION_PROMPT, PHOTOS
from entrypoint.sample.rows import sft_image
from entrypoint.settings import RunSettings
from entrypoint.volume import Volume, write_text
from libmoe.config.errors import DataError, LibmoeError
from libmoe.config.run import RunSpec
from libmoe.config.stages import STAGES

PRESET = "tiny"
RANKS = 2
ENOUGH = 22
"""Captions out of 24 that a model which learned its photographs gives back."""


@dataclass(frozen=True)
class Caption:
    """What a photograph shows and what the model says of it."""

    photo: str
    truth: str
    answer: str

    @property
    def exact(self) -> bool:
        """Word for word."""
        return self.answer == self.truth


@dataclass(frozen=True)
class Demo:
    """Everything below one folder: ``hub/`` (what is served), ``data/`` (the volume), ``report.html``."""

    folder: Path

    @property
    def volume(self) -> Volume:
        """The data volume."""
        return Volume(self.folder / "data")

    @property
    def runs(self) -> Path:
        """Holds a run folder a stage."""
        return self.volume.root / "runs" / PRESET

    @property
    def page(self) -> Path:
        """The report of all three stages."""
        return self.folder / "report.html"

    def prepare(self, emit: Emit) -> int:
        """Fetches the sample from its own server; returns the number of artifacts that were not there yet."""
        from entrypoint.catalog.load import load_catalog
        from entrypoint.catalog.selection import select
        from entrypoint.prepare.options import Options
        from entrypoint.prepare.run import prepare
        from entrypoint.prepare.transport.addresses import Addresses
        from entrypoint.sample.build import build
        from entrypoint.sample.hub import serve

        build(self.folder / "hub")
        with serve(self.folder / "hub") as url:
            options = Options(addresses=Addresses(mirror=url))
            outcome = prepare(select(load_catalog("sample"), STAGES), self.volume, options, emit)
        return len(outcome.plan.missing)

    def train(self, say: Callable[[str], None]) -> list[RunSpec]:
        """Trains what is not trained yet, with two ranks on the CPU, and writes the page about it."""
        settings = RunSettings(preset=PRESET)
        devices = choose_devices("cpu", RANKS)
        specs = Training(settings, STAGES, self.volume, self.runs, devices).run(say)
        write_report(self.runs, self.page)
        return specs

    def captions(self, model: Path) -> list[Caption]:
        """Asks the model about every photograph it was trained on.

        Raises:
            LibmoeError: the model's process failed; carries its sentence and exit code.
        """
        requests = self.folder / "requests.jsonl"
        lines = [
            json.dumps({"images": [str(self.volume.path(sft_image(photo)))], "prompt": CAPTION_PROMPT})
            for photo in PHOTOS
        ]
        write_text(requests, "\n".join(lines) + "\n")
        command = [sys.executable, "-m", "libmoe.generate", "--checkpoint", str(model)]
        done = subprocess.run(
            [*command, "--json", "--requests", str(requests)], capture_output=True, text=True
        )
        if done.returncode:
            error = LibmoeError(done.stderr.strip().splitlines()[-1].removeprefix("libmoe: "))
            error.exit_code = done.returncode
            raise error
        answers = [json.loads(line)["text"] for line in done.stdout.splitlines()]
        return [
            Caption(photo.slug, photo.caption, answer) for photo, answer in zip(PHOTOS, answers, strict=True)
        ]


def require_learned(captions: list[Caption]) -> None:
    """Fails if the model did not learn its photographs.

    Raises:
        DataError: fewer captions are exact than a trained model gives.
    """
    exact = sum(caption.exact for caption in captions)
    if exact < ENOUGH:
        raise DataError(
            f"Only {exact} of {len(captions)} captions are exact, where {ENOUGH} are expected: "
            "the training did not learn its data; see report.html and log.txt of each stage."
        )

"""What a stage's run folder tells, read for the report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoint.launch.metrics import read_metrics
from entrypoint.report.curves import Curve
from libmoe.config.errors import DataError
from libmoe.config.json_lines import read_json_lines
from libmoe.config.run import ROWS_NOT_TRAINED_ON, RunSpec
from libmoe.config.saved import has_model
from libmoe.config.stages import STAGES


@dataclass(frozen=True)
class StageRun:
    """One stage's manifest, steps, router samples and rows that it went without."""

    spec: RunSpec
    steps: list[dict[str, Any]]
    router: list[dict[str, Any]]
    """``{"step", "layers": {path: figures}}``; empty where the model has no experts."""
    skipped: list[dict[str, Any]]
    """``{"step", "number", "row", "reason"}``; step 0: left out of the whole run."""

    @property
    def done(self) -> bool:
        """Whether its model was saved at the end."""
        return has_model(self.spec.model_dir)

    def curve(self, key: str, name: str | None = None) -> Curve:
        """One figure over the steps; without points where it does not apply."""
        points = [(step["step"], float(step[key])) for step in self.steps if key in step]
        return Curve(name or key.replace("_", " "), points)

    def loads(self, layer: str) -> list[tuple[int, list[float]]]:
        """Expert loads of a layer over the sampled steps that saw a token there."""
        seen = ((sample["step"], sample["layers"].get(layer)) for sample in self.router)
        return [(step, figures["load"]) for step, figures in seen if figures and figures["tokens"]]

    @property
    def layers(self) -> list[str]:
        """Paths of the layers with experts."""
        return list(self.router[-1]["layers"]) if self.router else []

    @property
    def rows_left_out(self) -> int:
        """Rows that some step or the whole run went without."""
        return len({one["number"] for one in self.skipped})

    @property
    def seconds(self) -> float:
        """How long its steps took."""
        return sum(step["seconds"] for step in self.steps)

    @property
    def state(self) -> str:
        """Whether it finished, and where it is."""
        return f"{'finished' if self.done else 'not finished'} at step {self.steps[-1]['step']:,}"


def read_stages(run: Path) -> list[StageRun]:
    """The stages below a run folder, or the one stage that it is.

    Raises:
        DataError: there is no run, or it has made no step.
        ConfigError: a manifest is not one of ours.
    """
    folders = [run] if (run / "run.json").is_file() else [run / stage for stage in STAGES]
    found = [folder for folder in folders if (folder / "run.json").is_file()]
    if not found:
        raise DataError(f"{run} holds no run.json: name the run folder of a stage, or the folder above it.")
    return [_read(folder) for folder in found]


def _read(folder: Path) -> StageRun:
    return StageRun(
        RunSpec.read(folder / "run.json"),
        read_metrics(folder),
        read_json_lines(folder / "router.jsonl"),
        read_json_lines(folder / ROWS_NOT_TRAINED_ON),
    )

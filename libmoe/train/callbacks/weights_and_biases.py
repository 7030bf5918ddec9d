"""The same numbers for Weights & Biases, where ``train.wandb`` names a project."""

import uuid
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec
from libmoe.train.callbacks.record import StepRecord


class WeightsAndBiases:
    """A run of the project; a resumed run goes on in the same one.

    Args:
        start: the step resumed from.

    Raises:
        ConfigError: W&B does not start the run.
    """

    def __init__(self, spec: RunSpec, project: str, start: int) -> None:
        wandb = import_module("wandb")  # no dependency of ours
        try:
            self._run: Any = wandb.init(
                project=project,
                id=_run_id(spec.run_dir, new=start == 0),
                resume="allow",
                name=f"{spec.config.preset} {spec.config.stage}",
                group=spec.run_dir.parent.name,
                dir=str(spec.run_dir),
                config={**spec.config.model_dump(mode="json"), "versions": spec.versions},
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ConfigError(
                f"W&B does not start a run of {project!r} ({reason}): set WANDB_API_KEY, "
                "WANDB_MODE=offline, or leave it out with --set train.wandb=''."
            ) from error
        for curves in ("train/*", "router/*"):
            self._run.define_metric(curves, step_metric="train/step")

    def write(self, record: StepRecord, last_step: int) -> None:
        """See ``Sink``."""
        self._run.log({f"train/{name}": value for name, value in record.known().items()})

    def write_routers(self, step: int, curves: Mapping[str, float]) -> None:
        """What routers did in a sampled step, by ``<layer>/<figure>``."""
        self._run.log({"train/step": step} | {f"router/{name}": value for name, value in curves.items()})

    def close(self) -> None:
        """See ``Sink``."""
        self._run.finish()


def _run_id(run_dir: Path, *, new: bool) -> str:
    """Kept in the run folder, so that whatever continues this run finds it."""
    path = run_dir / "wandb" / "libmoe-run-id"
    if new or not path.is_file():
        path.parent.mkdir(exist_ok=True)
        path.write_text(uuid.uuid4().hex[:12])
    return path.read_text()

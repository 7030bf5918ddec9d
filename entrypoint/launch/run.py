"""``libmoe train``: each wanted stage in turn, skipping what is done, continuing what was interrupted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from entrypoint.launch import folder
from entrypoint.launch.plan import check_start, plan_stage
from entrypoint.launch.processes import train_stage
from entrypoint.launch.resume import choose_checkpoint
from entrypoint.launch.world import Devices
from entrypoint.settings import RunSettings
from entrypoint.volume import Volume
from libmoe.config.run import RunSpec


@dataclass(frozen=True)
class Training:
    """What `libmoe train` was asked to do."""

    settings: RunSettings
    stages: Sequence[str]
    volume: Volume
    runs: Path
    devices: Devices
    init_from: Path | None = None
    resume: str = "auto"

    def plan(self) -> Iterator[RunSpec]:
        """The manifest of each stage, in order, from where it would go on."""
        for spec in self._specs():
            yield spec if folder.is_done(spec) else self._resumed(spec)

    def run(self, say: Callable[[str], None]) -> list[RunSpec]:
        """Trains; every stage is checked before the first one starts.

        Raises:
            LibmoeError: a check failed, a rank failed, or the run was interrupted.
        """
        specs = list(self._specs())
        for spec in specs:
            folder.check_continues(spec)
        for spec in specs:
            self._stage(spec, say)
        return specs

    def _specs(self) -> Iterator[RunSpec]:
        for position, stage in enumerate(self.stages):
            yield plan_stage(
                self.settings.resolve(stage),
                self.volume,
                self.runs,
                self.devices,
                self.init_from if position == 0 else None,  # where the first one starts
            )

    def _stage(self, spec: RunSpec, say: Callable[[str], None]) -> None:
        stage = spec.config.stage
        if folder.is_done(spec):
            say(f"stage {stage}: already done, in {spec.run_dir}")
            return
        check_start(spec)
        resume = choose_checkpoint(spec.run_dir, self.resume)
        for reason in resume.passed_over:
            say(f"stage {stage}: {reason}")
        if resume.checkpoint:
            say(f"stage {stage}: continuing from {resume.checkpoint.name}")
        spec = spec.model_copy(update={"resume_from": resume.checkpoint})
        folder.start(spec)
        train_stage(spec, self.devices.environment, say)

    def _resumed(self, spec: RunSpec) -> RunSpec:
        resume = choose_checkpoint(spec.run_dir, self.resume)
        return spec.model_copy(update={"resume_from": resume.checkpoint})

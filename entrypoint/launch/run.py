"""``libmoe train``: each wanted stage in turn, skipping what is done, continuing what was interrupted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from entrypoint.launch import folder
from entrypoint.launch.plan import check_start, plan_stage
from entrypoint.launch.processes import train_stage
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
        """The manifest of each stage, in order; `--init-from` is where the first one starts."""
        for position, stage in enumerate(self.stages):
            yield plan_stage(
                self.settings.resolve(stage),
                self.volume,
                self.runs,
                self.devices,
                self.init_from if position == 0 else None,
                self.resume,
            )

    def run(self, say: Callable[[str], None]) -> list[RunSpec]:
        """Trains; every stage is checked before the first one starts.

        Raises:
            LibmoeError: a check failed, a rank failed, or the run was interrupted.
        """
        specs = list(self.plan())
        for spec in specs:
            folder.check_continues(spec)
        for spec in specs:
            self._stage(spec, say)
        return specs

    def _stage(self, spec: RunSpec, say: Callable[[str], None]) -> None:
        stage = spec.config.stage
        if folder.is_done(spec):
            say(f"stage {stage}: already done, in {spec.run_dir}")
            return
        check_start(spec)
        if spec.resume_from:
            say(f"stage {stage}: continuing from {spec.resume_from.name}")
        folder.start(spec)
        train_stage(spec, self.devices.environment, say)

"""``libmoe train``: each wanted stage in turn, skipping what is done, continuing what was interrupted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from entrypoint.launch import folder
from entrypoint.launch.attempt import Attempt
from entrypoint.launch.estimate.fit import check_memory_fits
from entrypoint.launch.estimate.forecast import ASSUMED_MFU, Forecast
from entrypoint.launch.nodes.settings import Place
from entrypoint.launch.plan import check_start, plan_stage
from entrypoint.launch.ranks.verdict import RanksLostError
from entrypoint.launch.restarts import Restarts
from entrypoint.launch.world import Devices
from entrypoint.settings import RunSettings
from entrypoint.volume import Volume
from libmoe.config.errors import ConfigError
from libmoe.config.gpus import Gpu
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
    place: Place = field(default_factory=Place)
    max_restarts: int = 0
    rendezvous_minutes: float = 10.0
    gpu: Gpu | None = None
    """The GPU whose memory and speed count; None: that of ``devices``."""
    mfu: float = ASSUMED_MFU
    force: bool = False

    def plan(self) -> Iterator[Forecast]:
        """What each stage would take, in order, from where it would go on."""
        for position, spec in enumerate(self._specs()):
            if self.init_from and not position and not folder.is_done(spec):
                check_start(spec)
            yield self.forecast(spec if folder.is_done(spec) else self._resumed(spec))

    def forecast(self, spec: RunSpec) -> Forecast:
        """What a stage takes here."""
        return Forecast(spec, self.gpu or self.devices.gpu, self.mfu)

    def check_memory(self, forecasts: Iterable[Forecast], say: Callable[[str], None]) -> None:
        """Whether what is still to be trained fits on the GPUs; with ``force``, only says so.

        Raises:
            ConfigError: a stage does not.
        """
        for forecast in forecasts:
            try:
                if not folder.is_done(forecast.spec):
                    check_memory_fits(forecast)
            except ConfigError as error:
                if not self.force:
                    raise
                say(f"{error} Training anyway, as --force says.")

    def run(self, say: Callable[[str], None]) -> list[RunSpec]:
        """Trains; every stage is checked before the first one starts.

        Raises:
            LibmoeError: a check failed, a rank failed, or the run was interrupted.
        """
        specs = list(self._specs())
        for spec in specs:
            folder.check_continues(spec)
        self.check_memory(map(self.forecast, specs), say)
        if not folder.is_done(specs[0]):  # the others start from what those before them leave
            check_start(specs[0])
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
        """Trains a stage to its end, from the last checkpoint again where ranks were lost."""
        if folder.is_done(spec):
            say(f"stage {spec.config.stage}: already done, in {spec.run_dir}")
            return
        resume = self.resume
        restarts = Restarts(self.max_restarts, spec.run_dir)
        while True:
            try:
                Attempt(self.place, self.devices.environment, resume, self.rendezvous_minutes).run(spec, say)
                return
            except RanksLostError as lost:
                restarts.use(lost, say)
                resume = "auto"

    def _resumed(self, spec: RunSpec) -> RunSpec:
        return spec.model_copy(update={"resume_from": folder.where_to_go_on(spec, self.resume).checkpoint})

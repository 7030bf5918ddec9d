"""The options that say what is trained, where and from which start."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from entrypoint.commands._node_options import NodeFlags, node_options
from entrypoint.commands._run_options import run_settings
from entrypoint.settings import RunSettings

if TYPE_CHECKING:
    from entrypoint.launch.nodes.settings import Place
    from entrypoint.launch.run import Training
    from entrypoint.launch.world import Devices
    from libmoe.config.gpus import Gpu

_OPTIONS = (
    click.option("--stage", metavar="STAGE", required=True, help="pretrain, pft, sft, or 1, 2, 3, or all."),
    run_settings,
    click.option(
        "--gpus", metavar="GPUS", help="A list (0,1), a number, all, or cpu for none.  [default: all]"
    ),
    click.option("--processes", type=click.IntRange(min=1), help="Ranks, when on the CPU.  [default: 1]"),
    node_options,
    click.option("--data-dir", type=click.Path(path_type=Path), help="The data volume.  [default: /data]"),
    click.option(
        "--run-dir",
        type=click.Path(path_type=Path),
        help="Where each stage gets its run folder.  [default: DATA/runs/PRESET]",
    ),
    click.option("--init-from", type=click.Path(path_type=Path), help="A model folder to start from."),
    click.option(
        "--resume",
        metavar="auto|never|DIR",
        default="auto",
        show_default=True,
        help="From the newest whole checkpoint, the first step, or this checkpoint.",
    ),
    click.option(
        "--max-restarts",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Restart up to N times in a row without a new checkpoint when ranks are lost.",
    ),
    click.option(
        "--gpu-model",
        metavar="NAME",
        help="Plan for this GPU (h100, a100, ...); a dry run needs none.  [default: the GPUs there are]",
    ),
    click.option(
        "--mfu",
        type=click.FloatRange(0, 1, min_open=True),
        help="Share of peak FLOP/s that a dry run assumes when it estimates hours.  [default: 0.35]",
    ),
    click.option(
        "--force", is_flag=True, help="Train even if the estimate says it does not fit in GPU memory."
    ),
)


@dataclass(frozen=True)
class TrainingRequest:
    """What the options say, as they were given."""

    stage: str
    settings: RunSettings
    gpus: str | None
    processes: int | None
    nodes: NodeFlags
    data_dir: Path | None
    run_dir: Path | None
    init_from: Path | None
    resume: str
    max_restarts: int
    gpu_model: str | None
    mfu: float | None
    force: bool

    def training(self, *, planned: bool) -> "Training":
        """What is to be done on this machine.

        Args:
            planned: only a plan is wanted, so that ``--gpu-model`` stands for GPUs that are not there.
        """
        from entrypoint.launch.estimate.forecast import ASSUMED_MFU
        from entrypoint.launch.nodes.settings import find_place
        from entrypoint.launch.run import Training
        from entrypoint.volume import Volume, default_data_dir
        from libmoe.config.gpus import gpu_model
        from libmoe.config.stages import parse_stages

        place = find_place(self.nodes.flags, os.environ)
        volume = Volume((self.data_dir or default_data_dir()).absolute())
        gpu = gpu_model(self.gpu_model) if self.gpu_model else None
        return Training(
            settings=self.settings,
            stages=parse_stages(self.stage),
            volume=volume,
            runs=(self.run_dir or volume.root / "runs" / self.settings.preset).absolute(),
            devices=self._devices(place, gpu if planned else None),
            init_from=self.init_from.absolute() if self.init_from else None,
            resume=self.resume,
            place=place,
            max_restarts=self.max_restarts,
            rendezvous_minutes=self.nodes.rendezvous_minutes,
            gpu=gpu,
            mfu=self.mfu or ASSUMED_MFU,
            force=self.force,
        )

    def _devices(self, place: "Place", imagined: "Gpu | None") -> "Devices":
        from entrypoint.launch.world import choose_devices, imagined_devices

        gpus = self.gpus or os.environ.get("ID_GPUS")
        if imagined:
            return imagined_devices(imagined, gpus, place.nodes)
        return choose_devices(gpus, self.processes, place.nodes)


def training_request(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options and hands the command a `TrainingRequest` as ``request``."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> Any:
        request = TrainingRequest(**{field.name: kwargs.pop(field.name) for field in fields(TrainingRequest)})
        return function(*args, request=request, **kwargs)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command

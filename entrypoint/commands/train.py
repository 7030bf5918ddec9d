"""``libmoe train``: parse, plan, start the processes."""

from pathlib import Path

import click

from entrypoint.commands._node_options import NodeFlags, node_options
from entrypoint.commands._run_options import run_settings
from entrypoint.settings import RunSettings


@click.command()
@click.option("--stage", metavar="STAGE", required=True, help="pretrain, pft, sft, or 1, 2, 3, or all.")
@run_settings
@click.option("--gpus", metavar="GPUS", help="A list (0,1), a number, all, or cpu for none.  [default: all]")
@click.option("--processes", type=click.IntRange(min=1), help="Ranks, when on the CPU.  [default: 1]")
@node_options
@click.option("--data-dir", type=click.Path(path_type=Path), help="The data volume.  [default: /data]")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    help="Where each stage gets its run folder.  [default: DATA/runs/PRESET]",
)
@click.option("--init-from", type=click.Path(path_type=Path), help="A model folder to start from.")
@click.option(
    "--resume",
    metavar="auto|never|DIR",
    default="auto",
    show_default=True,
    help="From the newest whole checkpoint, the first step, or this checkpoint.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Restart up to N times in a row without a new checkpoint when ranks are lost.",
)
@click.option("--dry-run", is_flag=True, help="Print what would run and what it would cost.")
@click.option(
    "--gpu-model",
    metavar="NAME",
    help="Plan for this GPU (h100, a100, ...); a dry run needs none.  [default: the GPUs there are]",
)
@click.option(
    "--mfu",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of peak FLOP/s that a dry run assumes when it estimates hours.  [default: 0.35]",
)
@click.option("--force", is_flag=True, help="Train even if the estimate says it does not fit in GPU memory.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    stage: str,
    settings: RunSettings,
    gpus: str | None,
    processes: int | None,
    data_dir: Path | None,
    run_dir: Path | None,
    init_from: Path | None,
    resume: str,
    nodes: NodeFlags,
    max_restarts: int,
    dry_run: bool,
    gpu_model: str | None,
    mfu: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Train one stage or all three with DeepSpeed. The same command, given again, continues."""
    import os

    from entrypoint import console
    from entrypoint.launch import summary
    from entrypoint.launch.forecast import ASSUMED_MFU
    from entrypoint.launch.nodes.settings import find_place
    from entrypoint.launch.run import Training
    from entrypoint.launch.world import choose_devices, imagined_devices
    from entrypoint.volume import Volume, default_data_dir
    from libmoe.config import gpus as known
    from libmoe.config.stages import parse_stages

    place = find_place(nodes.flags, os.environ)
    volume = Volume((data_dir or default_data_dir()).absolute())
    gpus = gpus or os.environ.get("ID_GPUS")
    gpu = known.gpu_model(gpu_model) if gpu_model else None
    training = Training(
        settings=settings,
        stages=parse_stages(stage),
        volume=volume,
        runs=(run_dir or volume.root / "runs" / settings.preset).absolute(),
        devices=imagined_devices(gpu, gpus, place.nodes)
        if gpu and dry_run
        else choose_devices(gpus, processes, place.nodes),
        init_from=init_from.absolute() if init_from else None,
        resume=resume,
        place=place,
        max_restarts=max_restarts,
        rendezvous_minutes=nodes.rendezvous_minutes,
        gpu=gpu,
        mfu=mfu or ASSUMED_MFU,
        force=force,
    )
    if dry_run:
        forecasts = list(training.plan())
        described = {one.spec.config.stage: summary.planned(one, place) for one in forecasts}
    else:
        specs = training.run(console.say)
        described = {spec.config.stage: summary.trained(spec) for spec in specs}
    if as_json:
        console.result(described)
    else:
        console.table(*summary.table(list(described.values())))
    if dry_run:
        training.check_memory(forecasts, console.say)
    elif not as_json:
        console.say(f"The model is in {specs[-1].model_dir}.")

"""A stage's run, decided and checked before any process starts: settings + volume + devices -> RunSpec."""

import importlib.util
from pathlib import Path

from entrypoint.launch import provenance
from entrypoint.launch.batch import accumulation_steps
from entrypoint.launch.world import Devices
from entrypoint.volume import Volume
from libmoe.config.annotations import META_ROWS, META_SHA256, open_index
from libmoe.config.errors import ConfigError, DataError
from libmoe.config.layers import Resolved
from libmoe.config.run import Annotations, RunSpec
from libmoe.config.saved import has_model
from libmoe.config.schema import MoEConfig, RunConfig
from libmoe.config.stages import STAGES


def plan_stage(
    resolved: Resolved, volume: Volume, runs: Path, devices: Devices, init_from: Path | None
) -> RunSpec:
    """The manifest of one stage under ``runs/<stage>``, from its first step on; nothing is written.

    Raises:
        ConfigError: the batch does not split over the ranks, or settings do not fit this machine.
        DataError: the annotations or the base weights are not on the volume.
    """
    config = resolved.config
    run_dir = runs / config.stage
    _check_wandb(resolved)
    _check_plugin(config.moe)
    volume.require()
    _check_base(config, volume)
    return RunSpec(
        config=config,
        provenance=resolved.provenance,
        data_dir=volume.root,
        run_dir=run_dir,
        annotations=annotations_of(volume, config.data.annotations, config.stage),
        init_from=init_from or _previous_model(runs, config.stage),
        resume_from=None,
        accumulation_steps=accumulation_steps(
            config.train.global_batch_size, config.train.micro_batch_size, devices.world.size
        ),
        world=devices.world,
        versions=provenance.versions(),
        hardware=provenance.hardware(devices.names),
        code=provenance.code(config),
        receipts=volume.receipts(),
    )


def check_start(spec: RunSpec) -> None:
    """Whether the model a stage starts from is there.

    Raises:
        ConfigError: it is not; says which stage makes it.
    """
    if spec.init_from is None or has_model(spec.init_from):
        return
    stage = spec.config.stage
    if spec.init_from != _previous_model(spec.run_dir.parent, stage):
        raise ConfigError(
            f"--init-from {spec.init_from} holds no model, which is a folder with a config.json: "
            "name a stage's model/ or one of its checkpoints."
        )
    previous = STAGES[STAGES.index(stage) - 1]
    raise ConfigError(
        f"Stage {stage} starts from the model of stage {previous}, which is not at {spec.init_from}: "
        f"run `libmoe train --stage {previous}` first, or name a model with --init-from."
    )


def _check_plugin(moe: MoEConfig) -> None:
    if moe.name != "none" and (moe.plugin or "").endswith(".py") and not Path(str(moe.plugin)).is_file():
        raise ConfigError(f"moe.plugin names the file {moe.plugin}, which is not there: correct the path.")


def _check_wandb(resolved: Resolved) -> None:
    if resolved.config.train.wandb and importlib.util.find_spec("wandb") is None:
        origin = resolved.provenance["train.wandb"]
        raise ConfigError(
            f"train.wandb asks for Weights & Biases ({origin}), which is not installed: "
            "`pip install wandb`, or --set train.wandb=''."
        )


def _previous_model(runs: Path, stage: str) -> Path | None:
    position = STAGES.index(stage)
    return runs / STAGES[position - 1] / "model" if position else None


def annotations_of(volume: Volume, name: str, stage: str) -> Annotations:
    index = volume.index_path(name)
    if not index.is_file():
        raise DataError(
            f"The volume {volume.root} does not hold {name}, which stage {stage} trains on: "
            f"run `libmoe prepare --stage {stage} --data-dir {volume.root}` first."
        )
    metadata = open_index(index).schema.metadata
    return Annotations(
        name=name, index=index, sha256=metadata[META_SHA256].decode(), rows=int(metadata[META_ROWS])
    )


def _check_base(config: RunConfig, volume: Volume) -> None:
    model = config.model
    wanted = {model.tokenizer, model.vision.weights, model.language.weights}
    for name in sorted(filter(None, wanted)):
        if not (volume.root / "models" / name).is_dir():
            raise DataError(
                f"The volume {volume.root} does not hold models/{name}, which the model is built from: "
                f"run `libmoe prepare --stage {config.stage} --preset {config.preset} "
                f"--data-dir {volume.root}` first."
            )

"""What watches and steers training: one concern a file."""

import json

from transformers import LlavaProcessor, TrainerCallback

from libmoe.config.run import RunSpec
from libmoe.train.callbacks.checkpoints import CheckpointPublisher
from libmoe.train.callbacks.data_order import DataOrder
from libmoe.train.callbacks.divergence import DivergenceGuard
from libmoe.train.callbacks.facts import FactsTap
from libmoe.train.callbacks.interruption import Interruption
from libmoe.train.callbacks.life import SignsOfLife
from libmoe.train.callbacks.meter import Meter
from libmoe.train.callbacks.metrics_file import MetricsFile
from libmoe.train.callbacks.progress import Progress
from libmoe.train.callbacks.record import Sink
from libmoe.train.callbacks.router_statistics import RouterStatisticsCallback, router_statistics
from libmoe.train.callbacks.routers import RouterSteps
from libmoe.train.callbacks.skipped import SkippedReport
from libmoe.train.callbacks.stop_after import StopAfter
from libmoe.train.callbacks.tensorboard import TensorBoard
from libmoe.train.callbacks.unlabelled import UnlabelledReport
from libmoe.train.callbacks.weights_and_biases import WeightsAndBiases
from libmoe.train.checkpoint import Checkpoints
from libmoe.train.data import TrainingData
from libmoe.train.heartbeat import Heartbeat
from libmoe.train.ranks import is_first
from libmoe.train.terminal import Say
from libmoe.train.utilization import utilization


def training_callbacks(
    spec: RunSpec,
    data: TrainingData,
    checkpoints: Checkpoints,
    processor: LlavaProcessor,
    say: Say,
    heartbeat: Heartbeat,
) -> tuple[list[TrainerCallback], Interruption]:
    """All callbacks of a run, in the order in which they are called; and the one that knows how it ended."""
    wandb = _wandb(spec)
    meter = Meter(spec.config.moe, _sinks(spec, say, wandb) if is_first() else [], utilization(spec))
    skipped = SkippedReport(spec.run_dir, data.left_out, _step_of(spec), say)
    guard, unlabelled, interruption = (
        DivergenceGuard(spec.config.train.guard),
        UnlabelledReport(say),
        Interruption(),
    )
    routers, life = _routers(spec, wandb), SignsOfLife(heartbeat)
    callbacks = [
        DataOrder(data.sampler),
        FactsTap(
            [life.hear, meter.hear, guard.hear, unlabelled.hear, skipped.hear, *(one.hear for one in routers)]
        ),
        RouterSteps(spec.config.moe),
        guard,
        meter,
        *routers,
        unlabelled,
        skipped,
        interruption,
        CheckpointPublisher(checkpoints, processor),
        life,
        *([StopAfter(spec.stop_after)] if spec.stop_after else []),
    ]
    return callbacks, interruption


def _wandb(spec: RunSpec) -> WeightsAndBiases | None:
    project = spec.config.train.wandb
    return WeightsAndBiases(spec, project, _step_of(spec)) if project and is_first() else None


def _sinks(spec: RunSpec, say: Say, wandb: WeightsAndBiases | None) -> list[Sink]:
    start = _step_of(spec)
    return [
        *([wandb] if wandb else []),
        MetricsFile(spec.run_dir / "metrics.jsonl", start),
        TensorBoard(spec.run_dir / "tensorboard", start),
        Progress(spec.config.stage, say),
    ]


def _routers(spec: RunSpec, wandb: WeightsAndBiases | None) -> list[RouterStatisticsCallback]:
    """Nothing where there are no routers, or nobody wants to know."""
    every = spec.config.train.router_statistics_steps
    if spec.config.moe.name == "none" or not every:
        return []
    return [router_statistics(spec.run_dir, _step_of(spec), every, wandb)]


def _step_of(spec: RunSpec) -> int:
    """The step that the run continues from."""
    if spec.resume_from is None:
        return 0
    step: int = json.loads((spec.resume_from / "trainer_state.json").read_text())["global_step"]
    return step

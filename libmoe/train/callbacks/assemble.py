"""The callbacks of a run, in the order in which transformers calls them."""

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
    """All callbacks of a run, and the one that knows how it ended.

    Several gather from all ranks, so every rank has the same ones in the same order.
    """
    start = _step_resumed_from(spec)
    wandb = _wandb(spec, start)
    meter = Meter(spec.config.moe, _sinks(spec, say, wandb, start) if is_first() else [], utilization(spec))
    guard, unlabelled = DivergenceGuard(spec.config.train.guard), UnlabelledReport(say)
    skipped = SkippedReport(spec.run_dir, data.left_out, start, say)
    routers, life = _routers(spec, wandb, start), SignsOfLife(heartbeat)
    interruption = Interruption()
    # `skipped` may end the run: those before it have heard of the batch by then.
    tap = [life.hear, meter.hear, guard.hear, unlabelled.hear, *(one.hear for one in routers), skipped.hear]
    callbacks = [
        DataOrder(data.sampler),
        FactsTap(tap),
        RouterSteps(spec.config.moe),
        guard,  # before the meter: a step that ends the run is not among its metrics
        meter,  # before what gathers at a step's end: that belongs to the next step's time
        *routers,
        unlabelled,
        skipped,  # before the publisher: a checkpoint's rows are in the file once it counts
        interruption,
        CheckpointPublisher(checkpoints, processor),
        life,  # after all that takes time at a log and a save: what it tells of comes next
        *([StopAfter(spec.stop_after)] if spec.stop_after else []),
    ]
    return callbacks, interruption


def _wandb(spec: RunSpec, start: int) -> WeightsAndBiases | None:
    project = spec.config.train.wandb
    return WeightsAndBiases(spec, project, start) if project and is_first() else None


def _sinks(spec: RunSpec, say: Say, wandb: WeightsAndBiases | None, start: int) -> list[Sink]:
    return [
        *([wandb] if wandb else []),
        MetricsFile(spec.run_dir / "metrics.jsonl", start),
        TensorBoard(spec.run_dir / "tensorboard", start),
        Progress(spec.config.stage, say),
    ]


def _routers(spec: RunSpec, wandb: WeightsAndBiases | None, start: int) -> list[RouterStatisticsCallback]:
    """Nothing where there are no routers, or nobody wants to know."""
    every = spec.config.train.router_statistics_steps
    if spec.config.moe.name == "none" or not every:
        return []
    return [router_statistics(spec.run_dir, start, every, wandb)]


def _step_resumed_from(spec: RunSpec) -> int:
    if spec.resume_from is None:
        return 0
    step: int = json.loads((spec.resume_from / "trainer_state.json").read_text())["global_step"]
    return step

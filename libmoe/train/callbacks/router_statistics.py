"""``router.jsonl``, TensorBoard's ``router`` and W&B: what routers did in sampled steps."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback, TrainerState

from libmoe.data.collator import BatchFacts
from libmoe.model.modeling import LibmoeForConditionalGeneration
from libmoe.moe import moe_layers
from libmoe.moe.statistics import LayerSummary, RouterStatistics, collect
from libmoe.train.callbacks.step_lines import StepLines
from libmoe.train.callbacks.weights_and_biases import WeightsAndBiases
from libmoe.train.ranks import is_first


class RouterLog:
    """Where the first rank writes; ``start`` is the step resumed from, ``wandb`` is told the curves too."""

    def __init__(self, run_dir: Path, start: int, wandb: WeightsAndBiases | None = None) -> None:
        self._wandb = wandb
        self._lines = StepLines(run_dir / "router.jsonl", start)
        self._writer = SummaryWriter(str(run_dir / "tensorboard" / "router"), purge_step=start + 1)

    def write(self, step: int, layers: dict[str, LayerSummary]) -> None:
        """A line of all layers, and a curve for each figure of each layer."""
        self._lines.write(
            {"step": step, "layers": {path: rounded(asdict(one)) for path, one in layers.items()}}
        )
        curves = {f"{path}/{name}": value for path, layer in layers.items() for name, value in _curves(layer)}
        for name, value in curves.items():
            self._writer.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.write_routers(step, curves)

    def close(self) -> None:
        """Training has ended."""
        self._lines.close()
        self._writer.close()


class RouterStatisticsCallback(TrainerCallback):
    """Every rank has one, for ranks add up what they counted; only the first has a ``log``.

    Samples the first step and then every ``every`` steps, by the number of the step, so that a resumed run
    samples the same ones. In a micro batch without image, the layers that see nothing else are left out.
    """

    def __init__(self, every: int, log: RouterLog | None) -> None:
        self._every = every
        self._log = log
        self._model: LibmoeForConditionalGeneration | None = None
        self._of_images: frozenset[str] = frozenset()
        self._block = ExitStack()
        self._statistics: RouterStatistics | None = None

    def hear(self, facts: BatchFacts) -> None:
        """A micro batch is about to be computed."""
        if self._statistics is not None:
            self._statistics.ignored = frozenset() if facts.images else self._of_images

    def on_train_begin(self, *_: Any, model: LibmoeForConditionalGeneration, **__: Any) -> None:
        """Learns which layers there are."""
        self._model = model
        language = {layer for module in model.part("language") for _, layer in moe_layers(module)}
        self._of_images = frozenset(path for path, layer in moe_layers(model) if layer not in language)

    def on_step_begin(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        """Starts to listen where the step is to be sampled."""
        if state.global_step % self._every == 0:
            assert self._model is not None
            self._statistics = self._block.enter_context(collect(self._model))

    def on_step_end(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        """Adds up over ranks and writes."""
        if self._statistics is None:
            return
        self._block.close()
        statistics, self._statistics = self._statistics, None
        statistics.all_reduce()
        if self._log is not None:
            self._log.write(state.global_step, statistics.summary())

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Closes the log."""
        if self._log is not None:
            self._log.close()


def router_statistics(
    run_dir: Path, start: int, every: int, wandb: WeightsAndBiases | None = None
) -> RouterStatisticsCallback:
    """The callback of this rank."""
    return RouterStatisticsCallback(every, RouterLog(run_dir, start, wandb) if is_first() else None)


def rounded(value: Any) -> Any:
    """Every float inside to six digits: these are estimates, and lines with all their digits are long."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _curves(layer: LayerSummary) -> Iterator[tuple[str, float]]:
    """What is worth a curve; nothing where the layer saw no token."""
    if not layer.tokens:
        return
    yield "load_max", max(layer.load)
    yield "load_min", min(layer.load)
    for name in ("entropy", "margin", "null_share", "dropped_share", "z"):
        value = getattr(layer, name)
        if value is not None:
            yield name, value

"""The run folder, as the launcher sees it: what is done, what can go on, and what must not be mixed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from entrypoint.launch.resume import Resume, check_fits, checkpoints, choose_checkpoint
from entrypoint.lock import WriterLock
from libmoe.config.errors import ConfigError, VolumeError
from libmoe.config.run import RunSpec
from libmoe.config.saved import has_model

_FREE = {
    "data.workers",
    "train.activation_checkpointing",
    "train.deterministic",
    "train.guard.explosion",
    "train.guard.frozen_steps",
    "train.hang_minutes",
    "train.micro_batch_size",
    "train.router_statistics_steps",
    "train.save_steps",
    "train.save_total_limit",
    "train.wandb",
}
"""Settings that may change between a run and its continuation: at most the last digits depend on them."""


def is_done(spec: RunSpec) -> bool:
    """Whether the stage has its final model."""
    return has_model(spec.model_dir)


def check_continues(spec: RunSpec) -> None:
    """Refuses to continue or skip a run that was made with other settings or other data.

    A run that has saved nothing yet is not continued, so it is not compared.

    Raises:
        ConfigError: names the first difference.
    """
    if checkpoints(spec.run_dir) or is_done(spec):
        _check_same(spec.run_dir, spec, "or another --run-dir")


def where_to_go_on(spec: RunSpec, resume: str) -> Resume:
    """The checkpoint that ``--resume`` means, which this run can load.

    Raises:
        ConfigError: another run has saved it, with other settings or data; or DeepSpeed cannot load it here.
        DataError: it was asked for by name and is damaged.
    """
    chosen = choose_checkpoint(spec.run_dir, resume)
    check_belongs(chosen.checkpoint, spec)
    check_fits(chosen, spec)
    return chosen


def check_belongs(checkpoint: Path | None, spec: RunSpec) -> None:
    """Refuses a checkpoint that another run has saved, with other settings or data, as far as that is known.

    Raises:
        ConfigError: names the first difference.
    """
    if checkpoint is not None:
        weights = f"or start a new run from its weights with --resume never --init-from {checkpoint}"
        _check_same(checkpoint.parent.parent, spec, weights)


def _check_same(run_dir: Path, spec: RunSpec, otherwise: str) -> None:
    manifest = run_dir / "run.json"
    if not manifest.is_file():
        return
    before, now = _identity(RunSpec.read(manifest)), _identity(spec)
    different = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if different:
        key = different[0]
        raise ConfigError(
            f"{run_dir} holds a run with {key} = {before.get(key)}, not {now.get(key)}: "
            f"give the same settings to continue it, {otherwise}."
        )


@contextmanager
def held(spec: RunSpec, say: Callable[[str], None]) -> Iterator[None]:
    """Makes the folder, and keeps every other `libmoe train` from it meanwhile: that one waits.

    Raises:
        VolumeError: the folder cannot be written.
    """
    with ExitStack() as stack:
        with _writing(spec):
            spec.run_dir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(WriterLock(spec.run_dir / ".lock", f"The run folder {spec.run_dir}", say))
        yield


def start(spec: RunSpec) -> None:
    """Writes ``run.json``.

    Raises:
        VolumeError: the folder cannot be written.
    """
    with _writing(spec):
        spec.write()


@contextmanager
def _writing(spec: RunSpec) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise VolumeError(
            f"Cannot write the run folder {spec.run_dir}: {error.strerror}; "
            "name another with --run-dir, or make room."
        ) from error


def _identity(spec: RunSpec) -> dict[str, object]:
    from libmoe.config.layers import flatten

    settings = flatten(spec.config.model_dump(mode="json"))
    identity: dict[str, object] = {key: value for key, value in settings.items() if key not in _FREE}
    return identity | {"annotations sha256": spec.annotations.sha256}

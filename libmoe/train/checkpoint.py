"""Folders that are whole or not there: written under a draft's name, made durable, then renamed."""

import os
import shutil
from pathlib import Path

import torch.distributed as dist

from libmoe.train.ranks import is_first

_STEP = "step-"


def publish(draft: Path, final: Path) -> None:
    """Gives a finished folder its final name, in the place of any older one."""
    for folder, _, files in os.walk(draft):
        for name in files:
            (Path(folder) / name).chmod(0o644)  # safetensors' own is for the owner alone
            _sync(Path(folder) / name)
        _sync(Path(folder))
    if final.exists():
        old = final.with_name(f".old-{final.name}")
        final.rename(old)
        draft.rename(final)
        shutil.rmtree(old)
    else:
        draft.rename(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Checkpoints:
    """``<run>/checkpoints``: whole ones as ``step-<n>``, the one under way below ``drafts``."""

    def __init__(self, run_dir: Path, keep: int) -> None:
        self._folder = run_dir / "checkpoints"
        self._keep = keep

    @property
    def drafts(self) -> Path:
        """Where the Trainer writes; it names a checkpoint ``checkpoint-<n>``."""
        return self._folder / ".drafts"

    def clear_drafts(self) -> None:
        """Removes what an interrupted run left half-written. For the first rank, before training."""
        shutil.rmtree(self.drafts, ignore_errors=True)
        self.drafts.mkdir(parents=True)

    def draft_of(self, step: int) -> Path:
        """The folder in which the checkpoint of a step is being written."""
        return self.drafts / f"checkpoint-{step}"

    def publish(self, step: int) -> None:
        """Renames the finished draft of a step, removes the oldest beyond the limit. For every rank."""
        dist.barrier()  # every rank has written its part
        if is_first():
            publish(self.draft_of(step), self._folder / f"{_STEP}{step}")
            self._prune()
        dist.barrier()  # nobody goes on before the checkpoint is there

    def _prune(self) -> None:
        steps = sorted(int(path.name.removeprefix(_STEP)) for path in self._folder.glob(f"{_STEP}*"))
        for step in steps[: -self._keep]:
            gone = self.drafts / f"{_STEP}{step}"
            (self._folder / f"{_STEP}{step}").rename(gone)  # a half-removed checkpoint must not look whole
            shutil.rmtree(gone)

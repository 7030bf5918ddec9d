"""Folders that are whole or not there: written under a draft's name, made durable, then renamed."""

import os
import shutil
from pathlib import Path

import torch.distributed as dist

from libmoe.config.manifest import CheckpointManifest, Entry, hashed, written_by
from libmoe.config.run import RunSpec
from libmoe.train.ranks import gather_objects, is_first

_STEP = "step-"


def publish(draft: Path, final: Path) -> None:
    """Gives a finished folder its final name, in the place of any older one."""
    for folder, _, files in os.walk(draft):
        for name in files:
            _make_durable(Path(folder) / name)
        _sync(Path(folder))
    if final.exists():
        old = final.with_name(f".old-{final.name}")
        final.rename(old)
        draft.rename(final)
        shutil.rmtree(old)
    else:
        draft.rename(final)
    _sync(final.parent)


def _make_durable(path: Path) -> None:
    path.chmod(0o644)  # safetensors' own is for the owner alone
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Checkpoints:
    """``<run>/checkpoints``: whole ones as ``step-<n>``, the one under way below ``drafts``."""

    def __init__(self, spec: RunSpec) -> None:
        self._folder = spec.run_dir / "checkpoints"
        self._keep = spec.config.train.save_total_limit
        self._ranks = spec.world.size
        self._zero_stage = spec.config.train.zero.stage

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
        """Seals the finished draft of a step, renames it, removes those beyond the limit. For every rank."""
        draft = self.draft_of(step)
        dist.barrier()  # the first rank has made the folder
        files = self._seal_own(draft)
        if is_first():
            manifest = CheckpointManifest(
                step=step, ranks=self._ranks, zero_stage=self._zero_stage, files=dict(sorted(files.items()))
            )
            _make_durable(manifest.write(draft))
            publish(draft, self._folder / f"{_STEP}{step}")
            self._prune(step)
        dist.barrier()  # nobody goes on before the checkpoint is there

    def _seal_own(self, draft: Path) -> dict[str, Entry]:
        """Every rank makes durable and hashes what it wrote; the entries of all."""
        own = written_by(dist.get_rank(), draft)
        for name in own:
            _make_durable(draft / name)
        shares = gather_objects(hashed(draft, own))
        return {name: entry for share in shares for name, entry in share.items()}

    def _prune(self, newest: int) -> None:
        """Keeps the newest; one of a later step is of a future that this run has left, or is damaged.

        What was converted for another number of ranks has served its purpose.
        """
        shutil.rmtree(self._folder / ".universal", ignore_errors=True)
        steps = sorted(int(path.name.removeprefix(_STEP)) for path in self._folder.glob(f"{_STEP}*"))
        kept = [step for step in steps if step <= newest][-self._keep :]
        for step in {*steps} - {*kept}:
            gone = self.drafts / f"{_STEP}{step}"
            (self._folder / f"{_STEP}{step}").rename(gone)  # a half-removed checkpoint must not look whole
            shutil.rmtree(gone)

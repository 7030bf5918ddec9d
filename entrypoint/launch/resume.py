"""Where a run goes on: the newest checkpoint that is whole, and why newer ones are not."""

import re
from dataclasses import dataclass
from pathlib import Path

from libmoe.config.errors import ConfigError, DataError
from libmoe.config.manifest import CheckpointManifest, DamageError, check
from libmoe.config.run import RunSpec


@dataclass(frozen=True)
class Resume:
    """The checkpoint to continue from, or none; ``passed_over`` has a sentence for each newer one."""

    checkpoint: Path | None = None
    manifest: CheckpointManifest | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        """How many saved it."""
        return self.manifest.ranks if self.manifest else 0

    def by_other_ranks(self, spec: RunSpec) -> bool:
        """Whether it has to be converted, as another number of ranks saved it."""
        return self.manifest is not None and self.ranks != spec.world.size


def choose_checkpoint(run_dir: Path, resume: str) -> Resume:
    """``auto`` (the newest whole checkpoint, if any), ``never``, or a checkpoint's folder.

    Every file of the checkpoint is read and compared with its manifest.

    Raises:
        ConfigError: there is no checkpoint at ``resume``.
        DataError: the one that was asked for by name is damaged.
    """
    if resume == "never":
        return Resume()
    if resume == "auto":
        return _newest_whole(run_dir)
    folder = Path(resume).absolute()
    if not folder.is_dir():
        raise ConfigError(f"There is no checkpoint at {folder}; --resume wants auto, never or a folder.")
    try:
        return Resume(folder, check(folder))
    except DamageError as damage:
        raise DataError(
            f"The checkpoint {folder} is damaged, {damage}: "
            "--resume auto takes the newest whole one, --resume never starts anew."
        ) from damage


def check_fits(resume: Resume, spec: RunSpec) -> None:
    """Whether DeepSpeed can load the checkpoint's optimizer in this run.

    Raises:
        ConfigError: it was saved with another ZeRO stage, or by other ranks without ZeRO.
    """
    manifest, ours = resume.manifest, spec.config.train.zero.stage
    if manifest is None:
        return
    instead = f"start a new run from its weights with --resume never --init-from {resume.checkpoint}."
    if manifest.zero_stage != ours:
        raise ConfigError(
            f"The checkpoint {resume.checkpoint} was saved with ZeRO {manifest.zero_stage}, and this run has "
            f"ZeRO {ours}, with which DeepSpeed cannot load it: set train.zero.stage={manifest.zero_stage}, "
            f"or {instead}"
        )
    if resume.by_other_ranks(spec) and not ours:
        raise ConfigError(
            f"The checkpoint {resume.checkpoint} was saved by {manifest.ranks} ranks, and this run has "
            f"{spec.world.size}: without ZeRO, DeepSpeed cannot convert it; use as many, or {instead}"
        )


def checkpoints(run_dir: Path) -> dict[int, Path]:
    """Step and folder of each published checkpoint, whole or since damaged, newest first."""
    found = {
        int(match[1]): path
        for path in (run_dir / "checkpoints").glob("step-*")
        if (match := re.fullmatch(r"step-(\d+)", path.name))
    }
    return dict(sorted(found.items(), reverse=True))


def _newest_whole(run_dir: Path) -> Resume:
    passed_over: list[str] = []
    for folder in checkpoints(run_dir).values():
        try:
            return Resume(folder, check(folder), tuple(passed_over))
        except DamageError as damage:
            passed_over.append(f"passing over checkpoint {folder.name}: {damage}")
    return Resume(passed_over=tuple(passed_over))

"""The same run again, from its manifest, beside the first one."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoint.digests import crc_of
from entrypoint.launch import provenance
from entrypoint.launch.attempt import Attempt
from entrypoint.launch.metrics import read_metrics
from entrypoint.launch.nodes.settings import Place
from entrypoint.launch.plan import annotations_of
from entrypoint.launch.world import Devices, choose_devices
from entrypoint.prepare.manifest import read_manifest
from entrypoint.reproduce.compare import Comparison, compare
from entrypoint.reproduce.differences import Difference, differences, same_machine
from entrypoint.volume import Volume
from libmoe.config.errors import ConfigError, DataError
from libmoe.config.run import RunSpec
from libmoe.config.saved import has_model
from libmoe.config.schema import RunConfig

ROUGHLY = 0.01
"""Relative tolerance on other hardware, packages or number of ranks, or without ``train.deterministic``."""


@dataclass(frozen=True)
class Reproduction:
    """What was found."""

    differences: list[Difference]
    comparison: Comparison
    tolerance: float

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "same": self.comparison.same,
            "tolerance": self.tolerance,
            "steps": self.comparison.steps,
            "steps_equal": self.comparison.equal,
            "largest_relative_difference": self.comparison.worst,
            "first_difference": self.comparison.first or None,
            "differences": [str(one) for one in self.differences],
        }


def reproduce(
    manifest: Path, say: Callable[[str], None], steps: int | None = None, tolerance: float | None = None
) -> Reproduction:
    """Trains again what ``manifest`` (a run.json) describes, in ``reproduced/`` beside it, and compares.

    Args:
        steps: how many; None: as many as the first run made.
        tolerance: relative, of every number; None: 0 for a deterministic run on the same machine with the
            same packages, else 0.01.

    Raises:
        ConfigError: the run cannot be repeated here.
        DataError: it is not a run, or what it reads is gone.
    """
    before = RunSpec.read(manifest)
    made = read_metrics(before.run_dir if before.run_dir.is_dir() else manifest.parent)[:steps]
    devices = _devices(before)
    now = _today(before, manifest, devices, made[-1]["step"])
    found = differences(before, now, manifest)
    for one in found:
        say(f"differs: {one}")
    if tolerance is None:
        tolerance = expected_tolerance(before, found)
    say(f"{len(made)} steps again, in {now.run_dir}; every number must agree {_within(tolerance)}")
    shutil.rmtree(now.run_dir, ignore_errors=True)
    Attempt(Place(), devices.environment, resume="never", rendezvous_minutes=1).run(now, say)
    return Reproduction(found, compare(made, read_metrics(now.run_dir), tolerance), tolerance)


def expected_tolerance(before: RunSpec, found: list[Difference]) -> float:
    """How far the numbers may be apart: 0 where nothing but the run itself decides them."""
    return 0.0 if before.config.train.deterministic and same_machine(found) else ROUGHLY


def require_same(reproduction: Reproduction, data_dir: Path) -> None:
    """Does nothing where both runs agree.

    Raises:
        DataError: they do not; names the first number, and what is known to differ.
    """
    if reproduction.comparison.same:
        return
    known = [*changed_files(Volume(data_dir)), *map(str, reproduction.differences)]
    cause = "; ".join(known) or "nothing that a manifest holds has changed"
    raise DataError(f"The run is not reproduced: {reproduction.comparison.first}; {cause}.")


def changed_files(volume: Volume) -> list[str]:
    """The first file of each artifact that is not what was once verified, found by reading all of them."""
    changed = []
    for name in volume.receipts():
        if not volume.manifest_path(name).is_file():
            continue  # not an archive
        entries = read_manifest(volume, name)
        path = next((entry.path for entry in entries if _differs(volume.path(entry.path), entry.crc)), None)
        if path:
            changed.append(f"{path} of {name} has changed since it came")
    return changed


def _differs(path: Path, crc: int) -> bool:
    return not path.is_file() or crc_of(path) != crc


def _devices(before: RunSpec) -> Devices:
    if before.world.device == "cpu":
        return choose_devices("cpu", before.world.size)
    return choose_devices(str(before.world.size), None)


def _today(before: RunSpec, manifest: Path, devices: Devices, last_step: int) -> RunSpec:
    """The run as it would be planned now: same settings, today's data, code and machine."""
    volume = Volume(before.data_dir)
    volume.require()
    if before.init_from is not None and not has_model(before.init_from):
        raise ConfigError(
            f"The run started from {before.init_from}, which is gone: reproduce the stage before it first."
        )
    return before.model_copy(
        update={
            "config": _quiet(before.config),
            "run_dir": manifest.parent.absolute() / "reproduced",
            "annotations": annotations_of(volume, before.config.data.annotations, before.config.stage),
            "resume_from": None,
            "world": devices.world,
            "versions": provenance.versions(),
            "hardware": provenance.hardware(devices.names),
            "code": provenance.code(before.config),
            "receipts": volume.receipts(),
            "stop_after": last_step,
        }
    )


def _quiet(config: RunConfig) -> RunConfig:
    """Nobody else is told of the steps again."""
    return config.model_copy(update={"train": config.train.model_copy(update={"wandb": None})})


def _within(tolerance: float) -> str:
    return f"within {tolerance:g} of itself" if tolerance else "bit for bit"

"""What is not as it was when a run was made: settings, data, code, packages, machine."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libmoe.config.layers import flatten
from libmoe.config.run import RunSpec

_DOES_NOT_MATTER = ("memory_bytes", "system")
"""Of the hardware: what changes no number."""


@dataclass(frozen=True)
class Difference:
    """One thing that was so and is otherwise now."""

    what: str
    before: object
    now: object

    def __str__(self) -> str:
        return f"{self.what} was {self.before}, is {self.now}"


def differences(before: RunSpec, now: RunSpec, manifest: Path) -> list[Difference]:
    """Everything that can be seen without training.

    Args:
        before: the run as its manifest says.
        now: the same run as it would be planned today.
        manifest: where ``before`` was read, for settings that it does not know.
    """
    return [
        *_new_settings(before, manifest),
        *_unequal("annotations", {"sha256": before.annotations.sha256}, {"sha256": now.annotations.sha256}),
        *_unequal("artifact", before.receipts, {name: now.receipts.get(name) for name in before.receipts}),
        *_unequal("code", before.code, now.code),
        *_unequal("version of", before.versions, now.versions),
        *_unequal("hardware", _that_matters(before.hardware), _that_matters(now.hardware)),
        *_unequal("world", before.world.model_dump(), now.world.model_dump()),
    ]


def same_machine(found: list[Difference]) -> bool:
    """Whether the same numbers can be expected bit for bit: hardware, ranks and packages are the same."""
    return not any(one.what.startswith(("hardware", "world", "version of")) for one in found)


def _new_settings(before: RunSpec, manifest: Path) -> Iterator[Difference]:
    written = flatten(json.loads(manifest.read_text())["config"])
    known = flatten(before.config.model_dump(mode="json"))
    for key, value in known.items():
        if key not in written and not any(name.startswith(f"{key}.") for name in written):
            yield Difference(f"setting {key}", "unknown", value)


def _unequal(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for key in sorted(before.keys() | now.keys()):
        was, is_now = before.get(key, "unknown"), now.get(key, "absent")
        if was != is_now and key in before:
            yield Difference(f"{what} {key}", was, is_now)


def _that_matters(hardware: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in hardware.items() if key not in _DOES_NOT_MATTER}

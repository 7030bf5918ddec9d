"""Where a run's settings come from: flag > LIBMOE_SET and --config > preset > recipe > default.

``WANDB_PROJECT``, which W&B's users know, comes after all that was said to us.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libmoe.config.layers import Layer, Resolved


@dataclass(frozen=True)
class RunSettings:
    """What the command line says of a run's configuration, before any stage is chosen."""

    preset: str
    config_file: Path | None = None
    assignments: tuple[str, ...] = ()
    moe: str | None = None
    max_steps: int | None = None

    def resolve(self, stage: str) -> "Resolved":
        """The complete configuration of a stage.

        Raises:
            ConfigError: a preset or setting is unknown or wrong.
        """
        from libmoe.config.layers import resolve

        return resolve(stage, self.preset, self._layers())

    def _layers(self) -> "list[Layer]":
        from libmoe.config.layers import Layer, assignment_layer, read_toml_layer

        layers = []
        if project := os.environ.get("WANDB_PROJECT"):
            layers.append(Layer("WANDB_PROJECT", {"train": {"wandb": project}}))
        if self.config_file:
            layers.append(read_toml_layer(self.config_file, f"file {self.config_file}"))
        layers += [assignment_layer(assignment) for assignment in self.assignments]
        if self.moe:
            layers.append(Layer("--moe", {"moe": {"name": self.moe}}))
        if self.max_steps:
            layers.append(Layer("--max-steps", {"train": {"max_steps": self.max_steps}}))
        return layers

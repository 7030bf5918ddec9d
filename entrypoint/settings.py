"""Where a run's settings come from: --moe and --max-steps > --set > --config > preset > recipe > default.

Each of them may be given as its variable (``LIBMOE_TRAIN_MOE``), which then is what its values came from.
``WANDB_PROJECT``, which W&B's users know, comes after all that was said to us.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    origins: Mapping[str, str] = field(default_factory=dict)
    """What gave ``stage`` and each value above but the file: a flag or a variable."""

    def resolve(self, stage: str) -> "Resolved":
        """The complete configuration of a stage.

        Raises:
            ConfigError: a preset or setting is unknown or wrong.
        """
        from libmoe.config.layers import Layer, resolve

        chosen = Layer(self._origin("stage", "--stage"), {"stage": stage})
        return resolve(stage, self.preset, [chosen, *self._layers()])

    def _layers(self) -> "list[Layer]":
        from libmoe.config.layers import Layer, assignment_layer, read_toml_layer

        layers = [Layer(self._origin("preset", "--preset"), {"preset": self.preset})]
        if project := os.environ.get("WANDB_PROJECT"):
            layers.append(Layer("WANDB_PROJECT", {"train": {"wandb": project}}))
        if self.config_file:
            layers.append(read_toml_layer(self.config_file, f"file {self.config_file}"))
        layers += [assignment_layer(one, self._origin("assignments", "--set")) for one in self.assignments]
        if self.moe:
            layers.append(Layer(self._origin("moe", "--moe"), {"moe": {"name": self.moe}}))
        if self.max_steps:
            steps = {"train": {"max_steps": self.max_steps}}
            layers.append(Layer(self._origin("max_steps", "--max-steps"), steps))
        return layers

    def _origin(self, value: str, flag: str) -> str:
        return self.origins.get(value, flag)

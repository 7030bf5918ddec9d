"""Layers with experts, where there are such layers."""

import pytest

from libmoe.config.errors import ConfigError
from libmoe.config.layers import assignment_layer, resolve
from libmoe.config.placement import check_placement


def test_layers_without_experts_are_told_from_the_settings_alone() -> None:
    def check(*settings: str) -> None:
        config = resolve("sft", "tiny", [assignment_layer(one) for one in settings]).config
        check_placement(config.model, config.moe)

    check("moe.layers.vision=[0, 1]")
    check("moe.layers.vision=[9]", "moe.name=none")
    with pytest.raises(ConfigError, match=r"moe\.layers\.vision is 0-2, but .* are 0 to 1"):
        check('moe.layers.vision="0-2"')
    with pytest.raises(ConfigError, match="add 'language' to"):
        check("moe.layers.language=[0]")

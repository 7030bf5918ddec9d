"""What is refused of the routing settings before torch is there."""

import pytest

from libmoe.config.errors import ConfigError
from libmoe.config.layers import assignment_layer, resolve
from libmoe.config.schema import MoEConfig


def routing(*settings: str) -> MoEConfig:
    return resolve("sft", "tiny", [assignment_layer(setting) for setting in settings]).config.moe


def test_an_unknown_algorithm_is_named_with_the_nearest() -> None:
    problem = r"'moe.name' \(from --set moe.name\) is wrong: did you mean 'smoe_share'\? Known: .*moe.plugin"
    with pytest.raises(ConfigError, match=problem):
        routing("moe.name=smoe_shar")


def test_a_plugin_may_know_any_name() -> None:
    assert routing("moe.name=mine", "moe.plugin=mine.routers").name == "mine"


def test_experts_that_choose_tokens_are_refused_in_the_language_model() -> None:
    assert routing("moe.name=expert_choice").where == ("vision", "connector")
    with pytest.raises(ConfigError, match=r"would see its future: take language out of moe\.where"):
        routing("moe.name=expert_choice", "moe.where=['vision', 'language']")


def test_balancing_by_bias_hardly_has_a_balance_loss() -> None:
    assert routing("moe.name=aux_free").balance_coefficient == 1e-4
    assert routing("moe.name=aux_free", "moe.balance_coefficient=0.5").balance_coefficient == 0.5
    assert routing("moe.name=smoe").balance_coefficient == 0.01

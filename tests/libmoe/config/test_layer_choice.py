"""Which layers are meant, as a person says it."""

from typing import Any

import pytest

from libmoe.config.errors import ConfigError
from libmoe.config.layer_choice import chosen_layers
from libmoe.config.layers import assignment_layer, resolve


@pytest.mark.parametrize(
    ("said", "layers"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("[4, 0, 4]", [0, 4]),
        ("2-4", [2, 3, 4]),
        ("5 - 5", [5]),
        ("every 2", [0, 2, 4]),
        ("every 4", [0, 4]),
        ('"every 9"', [0]),
    ],
)
def test_every_form_on_the_command_line(said: str, layers: list[int]) -> None:
    six_layers = ('moe.where=["vision", "language"]', "model.language.config.num_hidden_layers=6")
    words = [*six_layers, f"moe.layers.language={said}"]
    moe = resolve("sft", "tiny", [assignment_layer(word) for word in words]).config.moe
    assert chosen_layers(moe.layers.language, 6, "moe.layers.language") == layers
    assert chosen_layers(moe.layers.vision, 3, "moe.layers.vision") == [0, 1, 2]


@pytest.mark.parametrize("said", ["every 0", "evry 2", "3", "[]", "[-1]", "[1.5]", "[true]", "1-", "all 2"])
def test_anything_else_is_told_with_the_forms(said: str) -> None:
    with pytest.raises(ConfigError, match=r"moe\.layers\.vision.*layers are one of \"all\", a list"):
        resolve("sft", "tiny", [assignment_layer(f"moe.layers.vision={said}")])


@pytest.mark.parametrize("choice", [(0, 6), "4-6", "6-6", "3-2"])
def test_layers_that_are_not_there_are_told(choice: Any) -> None:
    with pytest.raises(ConfigError, match=r"moe\.layers\.vision is .*, but .* are 0 to 5"):
        chosen_layers(choice, 6, "moe.layers.vision")


def test_a_part_without_layers_gets_no_experts() -> None:
    with pytest.raises(ConfigError, match=r"No layer of vision is computed .* take it out of moe\.where"):
        chosen_layers("all", 0, "moe.layers.vision")

"""Whether an algorithm, its form and its numbers of experts go together."""

from libmoe.config.algorithms import BUILT_IN, SHARED_EXPERT, UPSTREAM
from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig


def check_routing(moe: MoEConfig) -> None:
    """Refuses what no router can be made of.

    Raises:
        ConfigError: too few experts for those that a token takes, or no such form of the algorithm.
    """
    if moe.name == "none":
        return
    if moe.top_k > moe.experts:
        raise ConfigError(
            f"moe.top_k is {moe.top_k} but there are only {moe.experts} experts: "
            "lower moe.top_k or raise moe.experts."
        )
    if moe.name in SHARED_EXPERT and moe.top_k < 2:
        raise ConfigError(
            f"moe.top_k is 1, which leaves no routed expert beside the shared one of {moe.name}: "
            "raise moe.top_k to 2 or more."
        )
    if moe.name in BUILT_IN and moe.name not in UPSTREAM and moe.compat == "upstream":
        raise no_upstream_form(moe.name)


def no_upstream_form(name: str) -> ConfigError:
    """For an algorithm that upstream does not have."""
    return ConfigError(f"{name} has no upstream form: leave moe.compat at published.")

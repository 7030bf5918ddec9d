"""The names that ``moe.name`` may take; free of torch, so that a wrong one is refused early."""

from typing import TYPE_CHECKING

from libmoe.config.errors import ConfigError, nearest

if TYPE_CHECKING:
    from libmoe.config.schema import MoEConfig

UPSTREAM = (
    "smoe",
    "smoe_sigmoidgating",
    "xmoe",
    "smoe_share",
    "smoe_sharev3",
    "smoe_plus_plus",
    "smoe_tcmoe",
)
"""Those that LibMoE's repository has too."""

BUILT_IN = (*UPSTREAM, "aux_free", "expert_choice")
"""All of ours (docs/moe.md)."""

SHARED_EXPERT = ("smoe_share", "smoe_sharev3")
"""Those with an expert that every token takes."""

registered: set[str] = set()
"""What this process has registered beside them."""


def advice(name: str) -> str | None:
    """What to do about a name that nothing has registered; None where it is known."""
    known = {"none", *BUILT_IN, *registered}
    if name in known:
        return None
    return f"{nearest(name, known).rstrip('.')}, or name in moe.plugin the module that registers it"


def check_routing(moe: "MoEConfig") -> None:
    """Whether the algorithm, the number of experts and how many a token takes fit each other.

    Raises:
        ConfigError: they do not.
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

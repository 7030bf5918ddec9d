"""The names that ``moe.name`` may take; free of torch, so that a wrong one is refused early."""

from libmoe.config.errors import nearest

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

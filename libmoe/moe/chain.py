"""Layers of one part of a model that hear of each other."""

from torch import nn

from libmoe.moe.layer import moe_layers
from libmoe.moe.trace import close_trace, open_trace


def chain(part: nn.Module) -> None:
    """Tells the mixture-of-experts layers of ``part`` their places; traces its passes if one wants it.

    Call it where the part is built, since an algorithm may add parameters (MoE++'s gating residual).
    """
    wanted = [layer.router.join_chain(position) for position, (_, layer) in enumerate(moe_layers(part))]
    if any(wanted):
        part.register_forward_pre_hook(open_trace)
        part.register_forward_hook(close_trace, always_call=True)

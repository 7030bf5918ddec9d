"""The algorithms as the released LibMoE checkpoints were trained (``compat="upstream"``)."""

from libmoe.moe.routers.upstream import first_slot, smoe_plus_plus, smoe_tcmoe, xmoe

__all__ = ["first_slot", "smoe_plus_plus", "smoe_tcmoe", "xmoe"]

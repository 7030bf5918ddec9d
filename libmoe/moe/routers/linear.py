"""The logits that most algorithms choose by: one linear map without bias."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libmoe.config.schema import MoEConfig
from libmoe.moe.routers.interface import Router


class LinearRouter(Router):
    """g = x Wg^T, in float32 (float64 stays float64) whatever x is; Wg is ``weight (columns, D)``."""

    def __init__(self, width: int, settings: MoEConfig) -> None:
        super().__init__(width, settings)
        self.weight = nn.Parameter(torch.empty(self.columns, width))
        nn.init.normal_(self.weight, std=settings.router_std)

    @property
    def columns(self) -> int:
        """How many logits a token has: one for each expert, unless the algorithm says otherwise."""
        return self.experts

    def forward(self, x_TD: Tensor) -> Tensor:
        dtype = torch.promote_types(x_TD.dtype, torch.float32)
        return F.linear(x_TD.to(dtype), self.weight.to(dtype))

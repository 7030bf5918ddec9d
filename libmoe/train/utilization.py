"""Model FLOP/s utilization (MFU; PaLM, arXiv:2204.02311, appendix B): what is used of the GPUs' peak."""

from dataclasses import dataclass

import torch

from libmoe.config.counting import RowCosts, anatomy, row_costs
from libmoe.config.errors import ConfigError
from libmoe.config.gpus import recognised
from libmoe.config.run import RunSpec


@dataclass(frozen=True)
class Utilization:
    """What a run's rows cost, and what all of its GPUs could do in a second."""

    costs: RowCosts
    peak: float

    def share(self, tokens: float, pairs: float, images: float, seconds: float) -> float:
        """MFU of rows that took ``seconds``; see ``RowCosts.of``. Nothing that is computed again counts."""
        return self.costs.of(int(tokens), int(pairs), int(images)) / (seconds * self.peak)


def utilization(spec: RunSpec) -> Utilization | None:
    """None on the CPU, for fp32 (the peak is bf16's), and where the GPU or the model is not known."""
    run = spec.config
    if spec.world.device != "cuda" or run.train.precision != "bf16":
        return None
    gpu = recognised(torch.cuda.get_device_name())
    if gpu is None or gpu.bf16_flops is None:
        return None
    try:
        model = anatomy(run.model, run.moe)
    except ConfigError:
        return None
    return Utilization(row_costs(model, run.train.trainable, False), gpu.bf16_flops * spec.world.size)

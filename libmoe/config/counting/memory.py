"""Memory of one rank at the peak of a step, by part, as DeepSpeed lays it out (ZeRO, arXiv:1910.02054).

P parameters, T of them trained, N ranks, b bytes an element (2 in bf16, 4 in fp32):

* parameters: b P; stage 3 b P / N;
* gradients: b T; from stage 2 on b T / N. Where the optimizer is offloaded, all on the host: 4 T / N, and
  b T / N in which micro batches are added up (stage 3) or new weights wait to be copied (1 and 2);
* optimizer: AdamW's two moments and a float32 copy of the weights, 12 T / N; stage 0 keeps 12 T, in fp32 8 T;
* buffers: what is reduced at once (``ZERO_BUCKET`` elements) and, in stage 3, the parameters that are
  gathered at once (``ZERO_LIVE`` elements at most, DeepSpeed's own default);
* activations: see ``activations``.

Left out: the CUDA context and NCCL (1 to 2 GB), the allocator's slack, the loader's pinned batches.
"""

from dataclasses import dataclass
from math import ceil

from libmoe.config.counting.activations import activation_bytes
from libmoe.config.counting.anatomy import Anatomy
from libmoe.config.counting.parameters import count_parameters
from libmoe.config.schema import RunConfig

ZERO_BUCKET = 50_000_000
"""Elements that ranks exchange at once; DeepSpeed's own default holds gigabytes of buffers."""
ZERO_LIVE = 1_000_000_000
_BYTES = {"bf16": 2, "fp32": 4}


@dataclass(frozen=True)
class Memory:
    """Bytes by part; where ``device`` and ``host`` say they are."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    buffers: int
    host: int
    """Of the sum of parts, what is offloaded."""

    @property
    def device(self) -> int:
        """What has to fit on the rank's GPU."""
        parts = (self.parameters, self.gradients, self.optimizer, self.activations, self.buffers)
        return sum(parts) - self.host


def count_memory(
    model: Anatomy, run: RunConfig, ranks: int, tokens: int | None = None, images: int = 1
) -> Memory:
    """Of one rank of ``ranks``.

    Args:
        tokens: of a row; None: ``data.max_length``, the most there can be.
        images: of a row.
    """
    train, zero = run.train, run.train.zero
    width, counted = _BYTES[train.precision], count_parameters(model)
    trained = sum(counted.by_part[part] for part in train.trainable)
    shares = {first: ranks if zero.stage >= first else 1 for first in (1, 2, 3)}
    offload_optimizer = zero.offload_optimizer and zero.stage >= 1
    offload_parameters = zero.offload_parameters and zero.stage == 3
    parameters = ceil(width * counted.total / shares[3])
    gradients = ceil(((width + 4) / ranks if offload_optimizer else width / shares[2]) * trained)
    optimizer = ceil((8 if zero.stage == 0 and width == 4 else 12) * trained / shares[1])
    activations = activation_bytes(
        model,
        train.trainable,
        train.activation_checkpointing,
        width,
        sequences=train.micro_batch_size,
        tokens=run.data.max_length if tokens is None else tokens,
        images=images * train.micro_batch_size,
    )
    live = min(counted.total, ZERO_LIVE) if zero.stage == 3 else 0
    bucket = ZERO_BUCKET if zero.stage else 0
    host = parameters * offload_parameters + (gradients + optimizer) * offload_optimizer
    return Memory(parameters, gradients, optimizer, activations, width * (bucket + live), host)

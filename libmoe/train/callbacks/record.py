"""What is known of one optimizer step, and where it is written."""

import math
from dataclasses import asdict, dataclass
from typing import Protocol


@dataclass(frozen=True)
class StepRecord:
    """One step over all ranks; None where it does not apply.

    ``loss = lm_loss + balance_coefficient * balance_loss + z_coefficient * z_loss``, the coefficients as
    their schedule has them at this step: the auxiliary losses are sums over the layers, means over the micro
    batches that hold an image. ``tokens`` (without padding) and ``images`` are this step's, ``seconds`` its
    duration, ``mfu`` the share of the GPUs' peak that the model used, ``memory_bytes`` the largest use of any
    rank so far: of a GPU's memory, else of the process's.
    """

    step: int
    loss: float
    lm_loss: float
    balance_loss: float | None
    z_loss: float | None
    lr: float
    grad_norm: float
    tokens: int
    images: int
    seconds: float
    tokens_per_s: float
    mfu: float | None
    memory_bytes: int

    def known(self) -> dict[str, float]:
        """Names and values of what applies, in order; a skipped step has no loss."""
        return {
            name: value for name, value in asdict(self).items() if value is not None and math.isfinite(value)
        }


class Sink(Protocol):
    """One place that records are written to, by the first rank alone."""

    def write(self, record: StepRecord, last_step: int) -> None:
        """Takes the next step; ``last_step`` is the run's."""

    def close(self) -> None:
        """Training has ended."""

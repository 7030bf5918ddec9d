"""A line every few seconds for the person who watches."""

import time

from libmoe.train.callbacks.record import StepRecord
from libmoe.train.terminal import Say

_SECONDS = 3.0


class Progress:
    """``stage sft  step 12/90  loss 1.2345  …  ETA 0:42``: the first step, the last, and some between."""

    def __init__(self, stage: str, say: Say) -> None:
        self._stage = stage
        self._say = say
        self._said = -_SECONDS
        self._begun: tuple[float, int] | None = None

    def write(self, record: StepRecord, last_step: int) -> None:
        """See ``Sink``."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = (now, record.step)
        if now - self._said < _SECONDS and record.step < last_step:
            return
        self._said = now
        self._say("  ".join(self._words(record, last_step, now, *self._begun)))

    def close(self) -> None:
        """See ``Sink``."""

    def _words(
        self, record: StepRecord, last_step: int, now: float, begun: float, first_step: int
    ) -> list[str]:
        words = [f"stage {self._stage}", f"step {record.step}/{last_step}", f"loss {record.loss:.4f}"]
        if record.balance_loss is not None:
            words += [f"lm {record.lm_loss:.4f}", f"balance {record.balance_loss:.3f}"]
        if record.z_loss is not None:
            words.append(f"z {record.z_loss:.3g}")
        words += [f"lr {record.lr:.2e}", f"{record.tokens_per_s:,.0f} tokens/s"]
        words.append(f"{record.images / record.seconds:.3g} images/s")
        if record.mfu is not None:
            words.append(f"MFU {record.mfu:.1%}")
        words.append(f"{record.memory_bytes / 2**30:.1f} GiB")
        steps = record.step - first_step
        if steps and record.step < last_step:
            words.append(f"ETA {_clock((now - begun) / steps * (last_step - record.step))}")
        return words


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""What the backward pass does in each part of the model: images go through tower, connector and decoder."""

from collections.abc import Collection
from dataclasses import dataclass

from libmoe.config.schema import Part


@dataclass(frozen=True)
class Backward:
    """In one part."""

    learns: bool
    """Weights get a gradient."""
    passes: bool
    """The part's input gets one."""

    @property
    def reached(self) -> bool:
        """Whether it gets here at all."""
        return self.learns or self.passes


def backward(trainable: Collection[Part]) -> dict[Part, Backward]:
    """A part whose weights are frozen passes a gradient on where something before it learns."""
    seen = Backward("vision" in trainable, passes=False)
    bridged = Backward("connector" in trainable, passes=seen.reached)
    spoken = Backward("language" in trainable, passes=bridged.reached)
    return {"vision": seen, "connector": bridged, "language": spoken}

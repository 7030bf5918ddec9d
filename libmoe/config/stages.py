"""The three training stages of the guide, in order, and the names people call them by."""

from libmoe.config.errors import UsageError, nearest

STAGES = ("pretrain", "pft", "sft")
"""Connector pre-training, pre-finetuning on captions, visual instruction tuning."""

_ALIASES = {str(number): stage for number, stage in enumerate(STAGES, start=1)}


def parse_stages(text: str) -> tuple[str, ...]:
    """``"1"``, ``"pretrain"`` or ``"all"`` to stage names in training order.

    Raises:
        UsageError: the name is no stage.
    """
    if text == "all":
        return STAGES
    stage = _ALIASES.get(text, text)
    if stage not in STAGES:
        raise UsageError(f"Unknown stage {text!r}: {nearest(text, [*STAGES, *_ALIASES, 'all'])}")
    return (stage,)

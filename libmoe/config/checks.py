"""Settings that are right one by one and cannot go together."""

from libmoe.config.counting import anatomy
from libmoe.config.errors import ConfigError
from libmoe.config.placement import check_placement
from libmoe.config.routing import check_routing
from libmoe.config.schema import RunConfig, TrainConfig


def check(config: RunConfig) -> None:
    """Refuses what no machine, volume or installation could make work.

    Raises:
        ConfigError: says which settings, and which of them to change.
    """
    _check_skipping(config.train)
    _check_norm(config.train)
    check_placement(config.model, config.moe)
    check_routing(config.moe)
    _check_length(config)


def _check_skipping(train: TrainConfig) -> None:
    if train.guard.nan == "skip" and not (train.precision == "bf16" and train.zero.stage):
        raise ConfigError(
            "train.guard.nan = skip is exact only with train.precision = bf16 and ZeRO 1 to 3: "
            "choose these, or --set train.guard.nan=stop."
        )


def _check_norm(train: TrainConfig) -> None:
    if not train.max_grad_norm and not train.zero.stage:
        raise ConfigError(
            "Without ZeRO, DeepSpeed knows the gradient's norm only where it clips: "
            "set train.zero.stage=1, or train.max_grad_norm to more than 0."
        )


def _check_length(config: RunConfig) -> None:
    try:
        image = anatomy(config.model, config.moe).image_tokens
    except ConfigError:  # a backbone whose parts are not known without transformers
        return
    if config.data.max_length <= image:
        raise ConfigError(
            f"data.max_length is {config.data.max_length}, but an image alone is {image} tokens: raise it."
        )

"""The recipe's global batch on any number of ranks: accumulation is derived, never set."""

from libmoe.config.errors import ConfigError


def accumulation_steps(global_batch: int, micro_batch: int, ranks: int) -> int:
    """Micro batches a rank runs before an optimizer step.

    Raises:
        ConfigError: the global batch cannot be split so; names the nearest combinations.
    """
    steps, rest = divmod(global_batch, micro_batch * ranks)
    if steps and not rest:
        return steps
    share = global_batch / ranks
    fits = [size for size in range(1, global_batch // ranks + 1) if global_batch % (size * ranks) == 0]
    advice = []
    if fits:
        nearest = min(fits, key=lambda size: (abs(size - micro_batch), -size))
        advice.append(f"--set train.micro_batch_size={nearest}")
    nearest_global = max(1, round(global_batch / (micro_batch * ranks))) * micro_batch * ranks
    advice.append(f"--set train.global_batch_size={nearest_global}")
    raise ConfigError(
        f"A global batch of {global_batch} over {ranks} ranks is {share:g} samples a rank, "
        f"which micro batches of {micro_batch} do not fill: use {' or '.join(advice)}."
    )

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
    raise ConfigError(
        f"A global batch of {global_batch} over {ranks} ranks is {share:g} samples a rank, "
        f"which micro batches of {micro_batch} do not fill: use {_advice(global_batch, micro_batch, ranks)}."
    )


def _advice(global_batch: int, micro_batch: int, ranks: int) -> str:
    """What keeps the global batch comes first: another micro batch, and where none fits, fewer ranks."""
    fewer = next(number for number in range(ranks, 0, -1) if global_batch % number == 0)
    share = global_batch // fewer
    micro = min(
        (size for size in range(1, share + 1) if share % size == 0),
        key=lambda size: (abs(size - micro_batch), -size),
    )
    kept = [f"{fewer} rank{'s' if fewer > 1 else ''}"] if fewer < ranks else []
    kept += [f"--set train.micro_batch_size={micro}"] if micro != micro_batch else []
    nearest_global = max(1, round(global_batch / (micro_batch * ranks))) * micro_batch * ranks
    return f"{' with '.join(kept)} or --set train.global_batch_size={nearest_global}"

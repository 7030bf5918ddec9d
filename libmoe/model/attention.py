"""How tower and language model compute attention on the machine at hand."""

from transformers.utils import is_flash_attn_2_available

from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec


def attention_implementation(spec: RunSpec) -> str:
    """``model.attention`` of the run, in transformers' words.

    Raises:
        ConfigError: the machine or the precision rules it out.
    """
    wanted = spec.config.model.attention
    if wanted == "flash_attention_2":
        if spec.world.device != "cuda" or spec.config.train.precision != "bf16":
            raise ConfigError(
                "model.attention=flash_attention_2 computes in bf16 on GPUs alone: set model.attention=sdpa."
            )
        if not is_flash_attn_2_available():
            raise ConfigError(
                "model.attention=flash_attention_2 needs the package flash-attn, which is not installed: "
                "install it, or set model.attention=sdpa."
            )
    return wanted

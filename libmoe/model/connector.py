"""The connector from vision features to language embeddings (LLaVA-1.5, arXiv:2310.03744)."""

from torch import Tensor, nn
from transformers.activations import ACT2FN

from libmoe.config.errors import ConfigError, nearest
from libmoe.model.config import LibmoeConfig


class Connector(nn.Module):
    """Linear, activation, Linear: ``(..., D_vision * scales)`` to ``(..., D_language)``."""

    def __init__(self, config: LibmoeConfig) -> None:
        """Of the widths and the activation that ``config`` names.

        Raises:
            ConfigError: there is no such activation.
        """
        super().__init__()
        activation = config.projector_hidden_act
        if activation not in ACT2FN:
            raise ConfigError(
                f"Unknown model.connector_activation {activation!r}: {nearest(activation, ACT2FN)}"
            )
        width_in = config.vision_config.hidden_size * len(config.scales)
        width_out = config.text_config.hidden_size
        self.linear_1 = nn.Linear(width_in, width_out)
        self.act = ACT2FN[activation]
        self.linear_2 = nn.Linear(width_out, width_out)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear_2(self.act(self.linear_1(features)))

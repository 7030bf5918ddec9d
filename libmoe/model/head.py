"""The language model's head, which is a matrix here: a model whose own does more would lose it."""

import copy

import torch
from torch.nn import functional as F
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, PreTrainedConfig

from libmoe.config.errors import ConfigError
from libmoe.moe.seeding import seeded

_TOKENS = 8


def check_head(config: PreTrainedConfig) -> None:
    """Refuses a language model that scales, caps or shifts its logits, as Granite, Gemma 2 and Phi-2 do.

    Recognised by trying: the model without layers and of few tokens is run beside a bare head. One that
    cannot be tried so is let through.

    Raises:
        ConfigError: it does, or is no causal language model at all.
    """
    kind, advice = config.model_type, "choose another model.language.config.model_type."
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ConfigError(f"A {kind} is no causal language model: {advice}")
    try:
        plain = _is_plain(_without_layers(config))
    except Exception:  # whatever it stumbles over, the whole model may not
        return
    if not plain:
        raise ConfigError(f"A {kind} scales, caps or shifts its logits, which would be lost here: {advice}")


def _without_layers(config: PreTrainedConfig) -> PreTrainedConfig:
    small = copy.deepcopy(config)
    small.num_hidden_layers, small.vocab_size = 0, _TOKENS
    small.pad_token_id = small.bos_token_id = small.eos_token_id = 0
    if getattr(small, "layer_types", None):
        small.layer_types = []
    return small


def _is_plain(config: PreTrainedConfig) -> bool:
    with seeded(0), torch.device("cpu"), torch.no_grad():
        model = AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)  # biases and caps show where nothing is zero
        embeddings = torch.randn(1, 3, config.hidden_size)
        hidden = model.base_model(inputs_embeds=embeddings).last_hidden_state
        expected = F.linear(hidden, model.get_output_embeddings().weight)
        return torch.allclose(model(inputs_embeds=embeddings).logits, expected, rtol=1e-3, atol=1e-3)

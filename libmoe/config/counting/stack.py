"""A stack of transformer layers in neutral terms, from the settings of its family."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from libmoe.config.counting.families import Bias, Family
from libmoe.config.counting.linear import Linear, parameters
from libmoe.config.counting.routers import Place, RouterSize, router_size
from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig


@dataclass(frozen=True)
class Mixture:
    """A layer of experts in the place of a dense MLP."""

    mlp: tuple[Linear, ...]
    """Of one expert."""
    experts: int
    top_k: int
    """Experts a token takes, at most: null slots and cheap experts are taken for real ones."""
    competing: bool
    """Experts take tokens, each as many of a sequence: k experts a token on average."""
    router: RouterSize

    @property
    def slots(self) -> int:
        """Outputs of experts that a token has room for."""
        return self.experts if self.competing else self.top_k

    def rows(self, tokens: int) -> int:
        """That experts compute of a sequence of ``tokens`` tokens."""
        if self.competing:
            return self.experts * ceil(self.top_k * tokens / self.experts)
        return self.top_k * tokens


@dataclass(frozen=True)
class Stack:
    """Layers of attention and MLP, all alike but for where the MLP is a mixture."""

    width: int
    attention: tuple[Linear, ...]
    """Queries, keys, values, output."""
    query_width: int
    """Heads times their width; keys are repeated to as many heads."""
    key_width: int
    """The same of keys, of which grouped-query attention has fewer; and of values."""
    mlp: tuple[Linear, ...]
    gated: bool
    activation_reads: int
    """How many tensors of the hidden width the MLP's activation keeps for its backward pass."""
    norms: int
    """Parameters of one layer's norms."""
    rms_norm: bool
    head_norms: bool
    """Queries and keys have norms of their own."""
    mixtures: tuple[Mixture | None, ...]
    """One a layer; None where the MLP is dense."""

    @property
    def layers(self) -> int:
        """How many are computed."""
        return len(self.mixtures)

    @property
    def parameters(self) -> int:
        """Without experts and routers."""
        dense = sum(mixture is None for mixture in self.mixtures)
        per_layer = parameters(self.attention) + self.norms
        return self.layers * per_layer + dense * parameters(self.mlp)


def complete(config: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """The settings with what transformers assumes where they are silent."""
    return {**family.defaults, **config}


def make_stack(
    values: Mapping[str, Any], family: Family, part: str, moe: MoEConfig, layers: int, mixed: list[int]
) -> Stack:
    """The layers of one backbone.

    Args:
        part: ``vision`` or ``language``, for errors.
        layers: how many are computed.
        mixed: which of them have experts.

    Raises:
        ConfigError: a size is not given.
    """
    width, hidden = size(values, part, "hidden_size"), size(values, part, "intermediate_size")
    heads = size(values, part, "num_attention_heads")
    head = values.get("head_dim") or width // heads
    queries, keys = heads * head, (values.get("num_key_value_heads") or heads) * head
    query_bias, output_bias = _bias(family.query_bias, values), _bias(family.output_bias, values)
    mlp_bias = _bias(family.mlp_bias, values)
    into = Linear(width, hidden, mlp_bias)
    mlp = (*([into] * (2 if family.gated else 1)), Linear(hidden, width, mlp_bias))
    mixtures: list[Mixture | None] = [None] * layers
    for position, layer in enumerate(mixed):
        mixtures[layer] = mixture(mlp, moe, position)
    return Stack(
        width=width,
        attention=(
            Linear(width, queries, query_bias),
            Linear(width, keys, query_bias),
            Linear(width, keys, query_bias),
            Linear(queries, width, output_bias),
        ),
        query_width=queries,
        key_width=keys,
        mlp=mlp,
        gated=family.gated,
        activation_reads=2 if values.get("hidden_act") == "quick_gelu" else 1,
        norms=2 * family.norm_vectors * width + (2 * head if family.head_norms else 0),
        rms_norm=family.norm_vectors == 1,
        head_norms=family.head_norms,
        mixtures=tuple(mixtures),
    )


def mixture(mlp: tuple[Linear, ...], moe: MoEConfig, position: int) -> Mixture:
    """Experts of the form of ``mlp``; ``position`` counts the mixtures of a part."""
    place = Place(mlp[0].inputs, mlp[-1].outputs, position)
    return Mixture(mlp, moe.experts, moe.top_k, moe.name == "expert_choice", router_size(moe, place))


def size(values: Mapping[str, Any], part: str, name: str) -> int:
    """A size that has no default.

    Raises:
        ConfigError: it is not given.
    """
    if name not in values:
        key = f"model.{part}.config.{name}"
        raise ConfigError(f"Nothing can be counted without {key}: give it with --set {key}=...")
    return int(values[name])


def _bias(bias: Bias, values: Mapping[str, Any]) -> bool:
    return bool(values[bias]) if isinstance(bias, str) else bias

"""Floating-point operations of one sequence, forward and in training.

Counted are matrix products, a multiplication and an addition each, the patches' convolution among them;
attention in full (2 L^2 products a head, forward), without what causal kernels save. Left out are norms,
activations, softmax, rotary angles, resizing and the optimizer, which are no matrix products.
"""

from collections.abc import Collection
from dataclasses import dataclass

from libmoe.config.counting.anatomy import Anatomy, Connector
from libmoe.config.counting.linear import flops
from libmoe.config.counting.stack import Mixture, Stack
from libmoe.config.schema import Part


@dataclass(frozen=True)
class Operations:
    """By part of the model; the language model's include its head."""

    vision: int
    connector: int
    language: int

    @property
    def total(self) -> int:
        """Of all parts."""
        return self.vision + self.connector + self.language


@dataclass(frozen=True)
class Backward:
    """What the backward pass does in one part of the model."""

    learns: bool
    """Weights get a gradient."""
    passes: bool
    """The part's input gets one."""

    @property
    def reached(self) -> bool:
        """Whether it gets here at all."""
        return self.learns or self.passes


def forward_flops(model: Anatomy, tokens: int, images: int) -> Operations:
    """Of a sequence of ``tokens`` tokens, in which each of ``images`` images takes ``model.image_tokens``."""
    tiles, vision, language = images * model.vision.tiles, model.vision, model.language
    return Operations(
        vision=tiles * (vision.patches * vision.patch.flops + _stack(vision.stack, vision.tokens)),
        connector=images * model.image_tokens * _connector(model.connector),
        language=_stack(language.stack, tokens) + tokens * language.head.flops,
    )


def training_flops(
    model: Anatomy, trainable: Collection[Part], checkpointing: bool, tokens: int, images: int
) -> Operations:
    """Of the same sequence with its backward pass; with activation checkpointing, what that computes again.

    The gradient of weights costs as much as the forward pass, that of inputs as well; frozen parts need the
    latter alone, and none of both where nothing before them learns.
    """
    tiles, vision, language = images * model.vision.tiles, model.vision, model.language
    seen = Backward("vision" in trainable, passes=False)
    bridged = Backward("connector" in trainable, passes=seen.reached)
    spoken = Backward("language" in trainable, passes=bridged.reached)
    forward = forward_flops(model, tokens, images)
    head = tokens * language.head.flops * (spoken.learns + spoken.reached)
    patches = tiles * vision.patches * vision.patch.flops * seen.learns
    return Operations(
        vision=forward.vision
        + patches
        + tiles * _stack_backward(vision.stack, vision.tokens, seen, checkpointing),
        connector=forward.connector
        + images * model.image_tokens * _connector_backward(model.connector, bridged),
        language=forward.language + head + _stack_backward(language.stack, tokens, spoken, checkpointing),
    )


def _stack(stack: Stack, tokens: int) -> int:
    """Forward, of one sequence."""
    return tokens * _linears(stack) + _attention(stack, tokens)


def _linears(stack: Stack) -> int:
    """Of one token."""
    return stack.layers * flops(stack.attention) + sum(_mlp(stack, mixture) for mixture in stack.mixtures)


def _attention(stack: Stack, tokens: int) -> int:
    """Scores and weighted values, of one sequence."""
    return stack.layers * 4 * tokens * tokens * stack.query_width


def _mlp(stack: Stack, mixture: Mixture | None) -> int:
    return flops(stack.mlp) if mixture is None else _mixture(mixture)


def _mixture(mixture: Mixture) -> int:
    """Of one token: its router and k experts."""
    return flops(mixture.router.linears) + mixture.top_k * flops(mixture.mlp)


def _stack_backward(stack: Stack, tokens: int, backward: Backward, checkpointing: bool) -> int:
    """Embeddings are trained with their stack, so that the input of each of its layers gets a gradient."""
    if not backward.reached:
        return 0
    linears, attention = tokens * _linears(stack), _attention(stack, tokens)
    again = linears + attention - tokens * _not_again(stack) if checkpointing else 0
    return linears * (backward.learns + 1) + 2 * attention + again


def _not_again(stack: Stack) -> int:
    """Recomputing a layer ends with the last tensor that was to be kept: before a dense MLP's last map."""
    return sum(stack.mlp[-1].flops for mixture in stack.mixtures if mixture is None)


def _connector(connector: Connector) -> int:
    """Of one image token."""
    return flops(connector.mlp) if connector.mixture is None else _mixture(connector.mixture)


def _connector_backward(connector: Connector, backward: Backward) -> int:
    """Of one image token; the first map's input is the tower's output."""
    if not backward.reached:
        return 0
    first, second = connector.mlp
    copies, router = 1, 0
    if connector.mixture is not None:
        copies, router = connector.mixture.top_k, flops(connector.mixture.router.linears)
    reaching_in = copies * first.flops + router
    return (reaching_in + copies * second.flops) * backward.learns + (
        copies * second.flops + reaching_in * backward.passes
    )

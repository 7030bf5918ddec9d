"""Floating-point operations of one sequence, forward and in training.

Counted are matrix products, a multiplication and an addition each, the patches' convolution among them;
attention in full (2 L^2 products a head, forward), without what causal kernels save. Left out are norms,
activations, softmax, rotary angles, resizing and the optimizer, which are no matrix products.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from libmoe.config.counting.anatomy import Anatomy, Connector
from libmoe.config.counting.backward import Backward, backward
from libmoe.config.counting.linear import Linear, flops
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


def forward_flops(model: Anatomy, tokens: int, images: int) -> Operations:
    """Of a sequence of ``tokens`` tokens, in which each of ``images`` images takes ``model.image_tokens``."""
    tiles, vision, language = images * model.vision.tiles, model.vision, model.language
    return Operations(
        vision=tiles * (vision.patches * vision.patch.flops + _stack(vision.stack, vision.tokens)),
        connector=images * _mlp(model.connector.mlp, model.connector.mixture, model.image_tokens),
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
    reach = backward(trainable)
    forward = forward_flops(model, tokens, images)
    seen = _stack_backward(vision.stack, vision.tokens, reach["vision"], checkpointing)
    spoken = _stack_backward(language.stack, tokens, reach["language"], checkpointing)
    patches = tiles * vision.patches * vision.patch.flops * reach["vision"].learns
    bridged = images * _connector_backward(model.connector, model.image_tokens, reach["connector"])
    head = tokens * language.head.flops * (reach["language"].learns + reach["language"].reached)
    return Operations(
        vision=forward.vision + patches + tiles * seen,
        connector=forward.connector + bridged,
        language=forward.language + head + spoken,
    )


def _stack(stack: Stack, tokens: int) -> int:
    """Forward, of one sequence."""
    return _linears(stack, tokens) + _attention(stack, tokens)


def _linears(stack: Stack, tokens: int) -> int:
    """All but attention's own products, of one sequence."""
    mlps = sum(_mlp(stack.mlp, mixture, tokens) for mixture in stack.mixtures)
    return stack.layers * tokens * flops(stack.attention) + mlps


def _attention(stack: Stack, tokens: int) -> int:
    """Scores and weighted values, of one sequence."""
    return stack.layers * 4 * tokens * tokens * stack.query_width


def _mlp(dense: Iterable[Linear], mixture: Mixture | None, tokens: int) -> int:
    """Of one sequence: the dense maps; or the router, and the rows that its experts compute."""
    if mixture is None:
        return tokens * flops(dense)
    return tokens * flops(mixture.router.linears) + mixture.rows(tokens) * flops(mixture.mlp)


def _stack_backward(stack: Stack, tokens: int, reach: Backward, checkpointing: bool) -> int:
    """Embeddings are trained with their stack, so that the input of each of its layers gets a gradient."""
    if not reach.reached:
        return 0
    linears, attention = _linears(stack, tokens), _attention(stack, tokens)
    again = linears + attention - tokens * _not_again(stack) if checkpointing else 0
    return linears * (reach.learns + 1) + 2 * attention + again


def _not_again(stack: Stack) -> int:
    """Recomputing a layer ends with the last tensor that was to be kept: before a dense MLP's last map."""
    return sum(stack.mlp[-1].flops for mixture in stack.mixtures if mixture is None)


def _connector_backward(connector: Connector, tokens: int, reach: Backward) -> int:
    """Of one image; the input of the first map (and of the router's) is the tower's output."""
    if not reach.reached:
        return 0
    entering, others = tokens * connector.mlp[0].flops, tokens * connector.mlp[1].flops
    if connector.mixture is not None:
        rows, (first, *rest) = connector.mixture.rows(tokens), connector.mixture.router.linears
        entering = rows * connector.mlp[0].flops + tokens * first.flops
        others = rows * connector.mlp[1].flops + tokens * flops(rest)
    return entering * (reach.learns + reach.passes) + others * (reach.learns + 1)

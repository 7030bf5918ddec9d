"""What a step holds at its peak beside weights, their gradients and the optimizer: the large tensors.

Per token of a layer of width D, with queries of width Q, keys of width K, MLP width F and k experts a token,
in elements; in brackets what only trained weights need, which a frozen layer does not keep:

* norms: LayerNorm its input (D) [its output (D)]; RMSNorm a float32 copy (D) [the normed input (D) and the
  output (D)]; norms over heads a float32 copy (Q + K) [the normed (Q + K)];
* attention (sdpa or flash, which keep no L x L scores): queries, keys, values (Q + 2 K), their output (Q);
* MLP: what the activation reads (F; quick_gelu 2 F) [and gives (F)]; with a gate, also the other half and the
  activation's output (3 F) [their product (F)];
* mixtures: k times the dispatched row (D), the MLP's own and the output [the router's float32 input (D)];
* the head: the last norm, and in float32 log-softmax, its gradient and that of the logits (3 of the
  vocabulary), which are gone before the layers' backward pass begins.

With activation checkpointing a layer keeps its input alone, and one layer at a time holds the rest and the
gradients between its operations. A part that the backward pass does not reach keeps nothing, and one layer at
a time computes. The tower's layers and the decoder's are never at work together. Left out: those gradients
where nothing is checkpointed (much has been let go before they come), the router's logits, the copy of
attention's output that packing makes, the allocator's slack, rotary angles, masks, what kernels use inside.
"""

from collections.abc import Collection

from libmoe.config.counting.anatomy import Anatomy
from libmoe.config.counting.backward import Backward, backward
from libmoe.config.counting.stack import Mixture, Stack
from libmoe.config.schema import Part

_F32 = 4


def activation_bytes(
    model: Anatomy,
    trainable: Collection[Part],
    checkpointing: bool,
    width: int,
    sequences: int,
    tokens: int,
    images: int,
) -> int:
    """At the peak, of a micro batch of ``sequences`` times ``tokens`` tokens with ``images`` images in all.

    Args:
        width: bytes of an element: 2 in bfloat16.
    """
    reach = backward(trainable)
    seen, spoken = images * model.vision.tiles * model.vision.tokens, sequences * tokens
    tower, tower_layer = _stack(model.vision.stack, width, reach["vision"], checkpointing)
    decoder, decoder_layer = _stack(model.language.stack, width, reach["language"], checkpointing)
    decoder += _norm(model.language.stack, width, reach["language"])
    beyond = images * model.image_tokens * _connector(model, width, reach["connector"])
    beyond += spoken * (decoder + max(_head(model), decoder_layer))
    return images * _pixels(model, width) + seen * tower + max(seen * tower_layer, beyond)


def _stack(stack: Stack, width: int, reach: Backward, checkpointing: bool) -> tuple[int, int]:
    """Bytes of a token that all layers keep, and that the one at work holds beside them."""
    if not reach.reached:
        return 0, max((_computing(stack, mixture, width) for mixture in stack.mixtures), default=0)
    layers = [_layer(stack, mixture, width, reach) for mixture in stack.mixtures]
    if not checkpointing:
        return sum(layers), 0
    between = [_gradients(stack, mixture, width) for mixture in stack.mixtures]
    return len(layers) * stack.width * width, max(map(sum, zip(layers, between, strict=True)), default=0)


def _layer(stack: Stack, mixture: Mixture | None, width: int, reach: Backward) -> int:
    """Kept for the backward pass."""
    norms = 2 * _norm(stack, width, reach)
    if stack.head_norms:
        norms += (stack.query_width + stack.key_width) * (_F32 + width * reach.learns)
    read, hidden = 3 if stack.gated else stack.activation_reads, stack.mlp[-1].inputs * width
    if mixture is None:
        mlp = (read + reach.learns) * hidden
    else:
        mlp = _mixture(mixture, (read + 1) * hidden, width, reach)
    return norms + 2 * (stack.query_width + stack.key_width) * width + mlp


def _gradients(stack: Stack, mixture: Mixture | None, width: int) -> int:
    """Beside all that a layer keeps, at the worst: of the residual, and of the MLP's own.

    A mixture's outputs are weighed in float32: their gradient, that of the weights, and a rounded copy.
    """
    hidden = (2 if stack.gated else 1) * stack.mlp[-1].inputs * width
    if mixture is not None:
        weighing = mixture.slots * stack.width * (2 * _F32 + width * (width < _F32))
        hidden = max(mixture.top_k * (hidden + stack.width * width), weighing)
    return 2 * stack.width * width + hidden


def _computing(stack: Stack, mixture: Mixture | None, width: int) -> int:
    """Held without a backward pass to come: residual and norm, and the larger of attention and MLP."""
    attention = 2 * (stack.query_width + stack.key_width) * width
    mlp = (4 if stack.gated else 2) * stack.mlp[-1].inputs * width
    if mixture is not None:
        weighing = mixture.slots * stack.width * (2 * width + _F32)
        mlp = max(mixture.top_k * (stack.width * width + mlp), weighing)
    return 2 * stack.width * width + max(attention, mlp)


def _norm(stack: Stack, width: int, reach: Backward) -> int:
    if stack.rms_norm:
        return stack.width * (_F32 + 2 * width * reach.learns)
    return stack.width * width * (1 + reach.learns)


def _mixture(mixture: Mixture, hidden: int, width: int, reach: Backward) -> int:
    inputs, outputs = mixture.mlp[0].inputs, mixture.mlp[-1].outputs
    router = inputs * _F32 if reach.learns and width < _F32 else 0
    return router + mixture.top_k * (inputs * width + hidden) + mixture.slots * outputs * width


def _pixels(model: Anatomy, width: int) -> int:
    """The tiles of one image."""
    return model.vision.tiles * model.vision.patches * model.vision.patch.inputs * width


def _connector(model: Anatomy, width: int, reach: Backward) -> int:
    """Of one image token."""
    if not reach.reached:
        return 0
    first, second = model.connector.mlp
    if model.connector.mixture is not None:
        return _mixture(model.connector.mixture, 2 * second.inputs * width, width, reach)
    return (first.inputs * reach.learns + second.inputs * (1 + reach.learns)) * width


def _head(model: Anatomy) -> int:
    """Of one token."""
    return 3 * _F32 * model.language.head.outputs

"""What a forward pass keeps for the backward pass, approximately: the large tensors, by what saves them.

Per token of a layer of width D, with query width Q, MLP width F and k experts a token, in elements:

* norms: LayerNorm keeps its input (D), RMSNorm a float32 copy (D) and the normed input (D); both their
  output (D);
* attention (sdpa or flash, which keep no L x L scores): queries, keys, values (3 Q) and their output (Q);
* MLP: both sides of the activation (2 F); with a gate the gate, its activation, the other half and their
  product (4 F);
* mixtures: the router's float32 input (D), and k times the dispatched row (D), the MLP's own and the output.

With activation checkpointing a layer keeps its input alone, and one layer at a time holds the rest. A part
that the backward pass does not reach holds one layer at a time as well. Left out: the allocator's slack,
rotary angles, masks, what kernels use inside.
"""

from collections.abc import Collection

from libmoe.config.counting.anatomy import Anatomy
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
    seen = images * model.vision.tiles * model.vision.tokens
    spoken = sequences * tokens
    tower, tower_layer = _stack(model.vision.stack, width, "vision" in trainable, checkpointing)
    decoder, decoder_layer = _stack(model.language.stack, width, bool(trainable), checkpointing)
    kept = seen * tower + spoken * (decoder + _head(model, width))
    kept += images * (_pixels(model, width) + model.image_tokens * _connector(model, width))
    return kept + max(seen * tower_layer, spoken * decoder_layer)


def _stack(stack: Stack, width: int, reached: bool, checkpointing: bool) -> tuple[int, int]:
    """Bytes of a token that all layers keep, and that the one under way holds beside them."""
    layers = [_layer(stack, mixture, width) for mixture in stack.mixtures]
    if reached and not checkpointing:
        return sum(layers), 0
    return len(layers) * stack.width * width if reached else 0, max(layers, default=0)


def _layer(stack: Stack, mixture: Mixture | None, width: int) -> int:
    norms = 2 * stack.width * (_F32 + 2 * width if stack.rms_norm else 2 * width)
    attention = 4 * stack.query_width * width
    return norms + attention + _mlp(stack, mixture, width)


def _mlp(stack: Stack, mixture: Mixture | None, width: int) -> int:
    hidden = (4 if stack.gated else 2) * stack.mlp[-1].inputs * width
    return hidden if mixture is None else _mixture(mixture, hidden, width)


def _mixture(mixture: Mixture, hidden: int, width: int) -> int:
    inputs, outputs = mixture.mlp[0].inputs, mixture.mlp[-1].outputs
    return inputs * _F32 + mixture.top_k * ((inputs + outputs) * width + hidden)


def _pixels(model: Anatomy, width: int) -> int:
    """The tiles of one image."""
    return model.vision.tiles * model.vision.patches * model.vision.patch.inputs * width


def _connector(model: Anatomy, width: int) -> int:
    """Of one image token."""
    first, second = model.connector.mlp
    hidden = 2 * second.inputs * width
    mixture = model.connector.mixture
    return first.inputs * width + (hidden if mixture is None else _mixture(mixture, hidden, width))


def _head(model: Anatomy, width: int) -> int:
    """Of one token: logits, and in float32 a copy, its log-softmax and the gradient."""
    copies = 3 * _F32 if width < _F32 else 2 * _F32
    return model.language.head.outputs * (width + copies)

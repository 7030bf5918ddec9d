"""Where upstream keeps each tensor of ours, as a table of rules.

In a rule ``{n}`` is a layer of the tower, ``{block}`` one of its blocks, ``{p}`` weight or bias, ``{rest}``
anything. ``{e}`` and ``{c}`` stand on upstream's side alone: a tensor of each expert, and of each constant
expert, there is a row of a stacked one here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from libmoe.config.algorithms import SHARED_EXPERT
from libmoe.config.schema import MoEConfig, Part

TOWER = "model.vision_tower.vision_model."
CONNECTOR = "model.mm_projector."

Pair = tuple[str, str]
"""A template of ours and of upstream's."""

LAYERS: dict[Part, Pair] = {
    "vision": ("model.vision_tower.encoder.layers.{n}.mlp.", TOWER + "encoder.layers.{n}.moelayer."),
    "connector": ("model.multi_modal_projector.", CONNECTOR + "moelayer."),
}
"""How the names of a mixture-of-experts layer begin."""

_EXPERTS: dict[Part, tuple[Pair, ...]] = {
    "vision": (("experts.fc1.{p}", "experts.{e}.fc1.{p}"), ("experts.fc2.{p}", "experts.{e}.fc2.{p}")),
    "connector": (
        ("experts.linear_1.{p}", "experts.{e}.0.{p}"),
        ("experts.linear_2.{p}", "experts.{e}.2.{p}"),
    ),
}

_LINEAR = (("router.weight", "gate.weight"),)
ROUTERS: dict[str, tuple[Pair, ...]] = {
    "smoe": _LINEAR,
    "smoe_sigmoidgating": _LINEAR,
    "smoe_share": _LINEAR,
    "smoe_sharev3": _LINEAR,
    "smoe_tcmoe": _LINEAR,
    "xmoe": (("router.reduction", "inp_reduction.weight"), ("router.embedding", "expert_embeddings")),
    "smoe_plus_plus": (
        *_LINEAR,
        ("router.cheap.value", "experts.{c}.constant"),
        ("router.cheap.mix", "experts.{c}.wg.weight"),
    ),
}
"""The algorithms that upstream has, and what their routers hold."""

_DENSE: dict[Part, tuple[Pair, ...]] = {
    "vision": (
        ("model.vision_tower.encoder.layers.{n}.mlp.{rest}", TOWER + "encoder.layers.{n}.mlp.{rest}"),
    ),
    "connector": (
        ("model.multi_modal_projector.linear_1.{p}", CONNECTOR + "0.{p}"),
        ("model.multi_modal_projector.linear_2.{p}", CONNECTOR + "2.{p}"),
    ),
}
_ALWAYS: tuple[Pair, ...] = (
    ("model.vision_tower.encoder.layers.{n}.{block}.{rest}", TOWER + "encoder.layers.{n}.{block}.{rest}"),
    ("model.vision_tower.embeddings.{rest}", TOWER + "embeddings.{rest}"),
    ("model.vision_tower.pre_layrnorm.{rest}", TOWER + "pre_layrnorm.{rest}"),
    ("model.language_model.{rest}", "model.{rest}"),
    ("lm_head.weight", "lm_head.weight"),
)


@dataclass(frozen=True)
class Unread:
    """A parameter of upstream's layers that its forward never reads."""

    name: str
    shape: tuple[Literal["experts", "columns", "width"], ...]
    square: bool = False
    """Only in layers whose output is as wide as their input."""


UNREAD: dict[str, tuple[Unread, ...]] = {
    "xmoe": (Unread("gate.weight", ("experts", "width")),),
    "smoe_plus_plus": (Unread("gate_transform.weight", ("columns", "columns"), square=True),),
}

BESIDE = {
    r".*\.position_ids": "counted, not learnt",
    r".*\.rotary_emb\.inv_freq": "counted, not learnt",
    re.escape(TOWER) + r"(post_layernorm|head)\..*": "upstream's tower has none",
    re.escape(CONNECTOR) + r"layer_norm\..*": "upstream's connector never applies it",
}
"""What files may hold beside upstream's model, and why nobody misses it."""

_FIELDS = {
    "n": r"(?P<n>\d+)",
    "p": r"(?P<p>weight|bias)",
    "rest": r"(?P<rest>.+)",
    "block": r"(?P<block>self_attn|layer_norm1|layer_norm2)",
}


class Names:
    """The rules that hold for one model."""

    def __init__(self, settings: MoEConfig) -> None:
        mixed = settings.where if settings.name != "none" else ()
        self._rules = [(_pattern(ours), upstream) for ours, upstream in _rules(settings.name, mixed)]
        experts = list(range(settings.experts))
        shared_last = settings.name in SHARED_EXPERT  # upstream's last expert, our first
        self._rows = {
            "{e}": [experts[-1], *experts[:-1]] if shared_last else experts,
            "{c}": [settings.experts + 1],  # after the experts and the zero expert
        }

    def upstream(self, name: str) -> str | tuple[str, ...] | None:
        """Upstream's name of a tensor of ours, None where it has no place for it.

        Where ours is stacked there is one an expert, in the order of our stack.
        """
        for pattern, upstream in self._rules:
            if found := pattern.fullmatch(name):
                rows = next((field for field in self._rows if field in upstream), None)
                fields = found.groupdict()
                if rows is None:
                    return upstream.format(**fields)
                return tuple(upstream.replace(rows, str(n)).format(**fields) for n in self._rows[rows])
        return None


def _rules(algorithm: str, mixed: tuple[Part, ...]) -> Iterator[Pair]:
    for part, dense in _DENSE.items():
        if part not in mixed:
            yield from dense
            continue
        ours, upstream = LAYERS[part]
        for own, other in (*_EXPERTS[part], *ROUTERS.get(algorithm, ())):
            yield ours + own, upstream + other
    yield from _ALWAYS


def _pattern(template: str) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w+)\}", template)
    return re.compile(
        "".join(_FIELDS[piece] if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))
    )

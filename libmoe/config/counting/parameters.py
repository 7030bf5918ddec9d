"""How many parameters a model has, where they are, and how many of them a token uses."""

from dataclasses import dataclass

from libmoe.config.counting.anatomy import Anatomy
from libmoe.config.counting.linear import parameters
from libmoe.config.counting.stack import Mixture
from libmoe.config.schema import Part


@dataclass(frozen=True)
class Parameters:
    """Disjoint counts whose sum is ``total``."""

    vision: int
    """The tower without experts and routers."""
    connector: int
    language: int
    """The decoder without experts, routers and embeddings."""
    embeddings: int
    """Of the vocabulary: the input's and, where it is not the same matrix, the head."""
    experts: int
    routers: int
    """With the cheap experts that some algorithms have."""
    active: int
    """Of the total, what one token uses at most: of each mixture's experts, k. Embeddings count in full."""
    by_part: dict[Part, int]
    """The total by what ``train.trainable`` names: experts and routers with their part."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_part.values())


def count_parameters(model: Anatomy) -> Parameters:
    """Exact: what the modules hold."""
    vision, language, connector = model.vision, model.language, model.connector
    tower = vision.stack.parameters + vision.patch.parameters + vision.others
    decoder = language.stack.parameters + language.others
    bridge = parameters(connector.mlp) if connector.mixture is None else 0
    embeddings = language.head.parameters * (1 if language.tied else 2)
    mixtures: dict[Part, list[Mixture]] = {
        "vision": [mixture for mixture in vision.stack.mixtures if mixture],
        "connector": [connector.mixture] if connector.mixture else [],
        "language": [mixture for mixture in language.stack.mixtures if mixture],
    }
    dense: dict[Part, int] = {"vision": tower, "connector": bridge, "language": decoder + embeddings}
    by_part = {
        part: count + sum(_experts(one) + one.router.parameters for one in mixtures[part])
        for part, count in dense.items()
    }
    everywhere = [one for part in mixtures.values() for one in part]
    idle = sum((one.experts - min(one.top_k, one.experts)) * parameters(one.mlp) for one in everywhere)
    return Parameters(
        vision=tower,
        connector=bridge,
        language=decoder,
        embeddings=embeddings,
        experts=sum(map(_experts, everywhere)),
        routers=sum(one.router.parameters for one in everywhere),
        active=sum(by_part.values()) - idle,
        by_part=by_part,
    )


def _experts(mixture: Mixture) -> int:
    return mixture.experts * parameters(mixture.mlp)

"""Every tensor of one model here, where upstream keeps it, and what upstream holds that nobody reads."""

from dataclasses import dataclass

import torch

from libmoe.config.errors import ConfigError
from libmoe.model.config import LibmoeConfig
from libmoe.model.interchange.names import LAYERS, TOWER, UNREAD, Names
from libmoe.model.skeleton import skeleton
from libmoe.model.weights import expected_shapes


@dataclass(frozen=True)
class Place:
    """One tensor of ours, and where upstream keeps it."""

    shape: torch.Size
    upstream: tuple[str, ...]
    """One name; where ours is stacked, one an expert in the order of our stack."""
    stacked: bool

    @property
    def upstream_shape(self) -> torch.Size:
        """Of each of upstream's tensors."""
        return self.shape[1:] if self.stacked else self.shape


class Layout:
    """The tensors of the model of ``config``.

    Attributes:
        places: by our name.
        unread: shapes, by upstream's name, of what its model holds and its forward never uses: dead
            parameters of its layers, and the tower's last layer, whose output it throws away.
        tied: our names of tensors that are stored once, under another name.

    Raises:
        ConfigError: upstream has no place for a tensor, as for a dense MLP among layers with experts.
    """

    def __init__(self, config: LibmoeConfig) -> None:
        outline = skeleton(config)
        names = Names(config.moe_settings)
        self.places: dict[str, Place] = {}
        for name, shape in expected_shapes(outline).items():
            upstream = names.upstream(name)
            if upstream is None:
                raise ConfigError(
                    f"Upstream's layout has no place for the tensor {name}: it has experts in all of the "
                    "tower's layers or in none."
                )
            if isinstance(upstream, tuple):
                self.places[name] = Place(shape, upstream, stacked=True)
            else:
                self.places[name] = Place(shape, (upstream,), stacked=False)
        self.unread = self._unread(config)
        self.tied = frozenset(outline.all_tied_weights_keys)

    def _unread(self, config: LibmoeConfig) -> dict[str, torch.Size]:
        live = {name: place.upstream_shape for place in self.places.values() for name in place.upstream}
        dead = _unread_parameters(config)
        first = f"{TOWER}encoder.layers.0."
        layer = {
            name.removeprefix(first): shape for name, shape in (live | dead).items() if name.startswith(first)
        }
        for n in range(config.vision_layers, config.vision_config.num_hidden_layers):
            dead |= {f"{TOWER}encoder.layers.{n}.{name}": shape for name, shape in layer.items()}
        return dead


def _unread_parameters(config: LibmoeConfig) -> dict[str, torch.Size]:
    settings = config.moe_settings
    tower = config.vision_config.hidden_size
    repeats = {"vision": config.vision_layers, "connector": 1}
    widths = {
        "vision": (tower, tower),
        "connector": (tower * len(config.scales), config.text_config.hidden_size),
    }
    found: dict[str, torch.Size] = {}
    for unread in UNREAD.get(settings.name, ()):
        for part in set(LAYERS) & set(settings.where):
            width, out_width = widths[part]
            if unread.square and width != out_width:
                continue
            sizes = {"experts": settings.experts, "columns": settings.experts + 2, "width": width}
            shape = torch.Size(sizes[dimension] for dimension in unread.shape)
            for n in range(repeats[part]):
                found[LAYERS[part][1].format(n=n) + unread.name] = shape
    return found

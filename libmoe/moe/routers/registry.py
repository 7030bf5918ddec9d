"""Algorithms by name: libmoe's own, and what others register."""

from collections.abc import Callable

from libmoe.config import algorithms
from libmoe.config.errors import ConfigError, nearest
from libmoe.config.routing import check_routing, no_upstream_form
from libmoe.config.schema import Compat, MoEConfig
from libmoe.moe.routers.interface import Router
from libmoe.moe.routers.plugin import import_plugin

_ROUTERS: dict[tuple[str, Compat], type[Router]] = {}


def register_router(name: str, compat: Compat = "published") -> Callable[[type[Router]], type[Router]]:
    """Class decorator that makes an algorithm selectable as ``moe.name`` (and ``moe.compat``).

    Raises:
        ConfigError: another class has this name.
    """

    def add(router: type[Router]) -> type[Router]:
        known = _ROUTERS.get((name, compat), router)
        if (known.__module__, known.__qualname__) != (router.__module__, router.__qualname__):
            raise ConfigError(
                f"{router.__module__} registers the algorithm {name!r}, which {known.__module__} has "
                "registered already: give yours another name."
            )
        _ROUTERS[name, compat] = router
        algorithms.registered.add(name)
        return router

    return add


def make_router(width: int, settings: MoEConfig, out_width: int | None = None) -> Router:
    """The router that ``settings`` ask for, after their plugin was imported.

    Args:
        out_width: of the layer's output, where it is not ``width``.

    Raises:
        ConfigError: the plugin cannot be imported, no algorithm has this name or its upstream form, or the
            settings do not fit together.
    """
    if settings.plugin is not None:
        import_plugin(settings.plugin)
    check_routing(settings)
    router = _find(settings.name, settings)
    if router.fallback is not None and out_width not in (None, width):
        router = _find(router.fallback, settings)
    return router(width, settings)


def _find(name: str, settings: MoEConfig) -> type[Router]:
    names = {name for name, _ in _ROUTERS}
    if name not in names:
        plugin = f" (moe.plugin {settings.plugin} does not register it)" if settings.plugin else ""
        raise ConfigError(f"Unknown moe.name {name!r}{plugin}: {nearest(name, names)}")
    if (name, settings.compat) not in _ROUTERS:
        raise no_upstream_form(name)
    return _ROUTERS[name, settings.compat]

"""Algorithms from outside: a module that registers them when it is imported."""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path

from libmoe.config.errors import ConfigError


def import_plugin(plugin: str) -> None:
    """Imports ``package.module``, or a file whose path ends in ``.py``, once a process.

    Raises:
        ConfigError: it is not there, or its own code fails.
    """
    try:
        if plugin.endswith(".py"):
            _import_file(Path(plugin))
        else:
            importlib.import_module(plugin)
    except ConfigError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{plugin}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"moe.plugin {plugin!r} cannot be imported: install its package, put its folder on "
                "PYTHONPATH, or give the path of a .py file."
            ) from error
        raise ConfigError(
            f"moe.plugin {plugin!r} fails when it is imported ({type(error).__name__}: {error}): correct it."
        ) from error


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(
            f"moe.plugin names the file {path}, which is not there (seen from {Path.cwd()}): "
            "correct the path."
        )
    path = path.resolve()
    name = f"libmoe_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise

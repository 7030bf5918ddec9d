"""The options that say which data is meant, shared by the commands that look at a volume."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from entrypoint.catalog.schema import Catalog
    from entrypoint.catalog.selection import Selection
    from entrypoint.volume import Volume


def catalog_option(
    meaning: str = "guide, sample, or a TOML file of your own.",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--catalog``, handed on as ``catalog_name``."""
    return click.option(
        "--catalog", "catalog_name", metavar="NAME|FILE", default="guide", show_default=True, help=meaning
    )


_OPTIONS = (
    click.option("--stage", metavar="STAGE", help="pretrain, pft, sft, or 1, 2, 3, or all."),
    click.option(
        "--only",
        multiple=True,
        metavar="NAME",
        help="Only this artifact and what it needs; may be repeated. `libmoe catalog list` has the names.",
    ),
    click.option(
        "--prefer",
        multiple=True,
        metavar="NAME",
        help="Use this artifact instead of the one it is an alternative to.",
    ),
    click.option("--preset", metavar="NAME", help="Base weights of this preset.  [default: the catalogue's]"),
    click.option("--data-dir", type=click.Path(path_type=Path), help="The data volume.  [default: /data]"),
    catalog_option(),
)


@dataclass(frozen=True)
class DataRequest:
    """Which artifacts of which catalogue, on which volume."""

    stage: str | None
    only: tuple[str, ...]
    prefer: tuple[str, ...]
    preset: str | None
    data_dir: Path | None
    catalog_name: str

    @property
    def volume(self) -> "Volume":
        """The volume that is meant."""
        from entrypoint.volume import Volume, default_data_dir

        return Volume((self.data_dir or default_data_dir()).absolute())

    def catalog(self) -> "Catalog":
        """The catalogue that is meant."""
        from entrypoint.catalog.load import load_catalog

        return load_catalog(self.catalog_name)

    def select(self, catalog: "Catalog") -> "Selection":
        """The artifacts that are meant."""
        from entrypoint.catalog.selection import select
        from libmoe.config.stages import parse_stages

        names = [name for given in self.only for name in given.split(",")]
        return select(
            catalog, parse_stages(self.stage) if self.stage else (), names, self.prefer, self.preset
        )


def data_request(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options and hands the command a `DataRequest` as ``request``."""

    @functools.wraps(function)
    def command(
        *args: Any,
        stage: str | None,
        only: tuple[str, ...],
        prefer: tuple[str, ...],
        preset: str | None,
        data_dir: Path | None,
        catalog_name: str,
        **kwargs: Any,
    ) -> Any:
        request = DataRequest(stage, only, prefer, preset, data_dir, catalog_name)
        return function(*args, request=request, **kwargs)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command

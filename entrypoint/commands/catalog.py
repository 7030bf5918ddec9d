"""``libmoe catalog list|show``: what can be fetched."""

import click

_CATALOG = click.option(
    "--catalog", "catalog_name", default="guide", show_default=True, help="A name or a TOML file."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group()
def command() -> None:
    """What can be fetched."""


@command.command("list")
@_CATALOG
@_JSON
def list_all(catalog_name: str, as_json: bool) -> None:
    """Print every artifact, and the stages that use it."""
    from entrypoint import console
    from entrypoint.catalog.load import load_catalog
    from entrypoint.catalog.selection import select

    catalog = load_catalog(catalog_name)
    stages = {stage: select(catalog, [stage]).artifacts for stage in catalog.stages}
    uses = {a.name: [stage for stage in stages if a in stages[stage]] for a in catalog.artifacts}
    if as_json:
        console.result(
            {a.name: {**a.model_dump(mode="json"), "stages": uses[a.name]} for a in catalog.artifacts}
        )
        return
    rows = [
        (a.name, a.kind, console.size(a.expected_size) if a.expected_size else "-", " ".join(uses[a.name]))
        for a in catalog.artifacts
    ]
    console.table(
        f"{catalog.catalog.name}: {catalog.catalog.description}", ("name", "kind", "size", "stages"), rows
    )


@command.command()
@click.argument("name")
@_CATALOG
@_JSON
def show(name: str, catalog_name: str, as_json: bool) -> None:
    """Print all that is known of one artifact or group."""
    from entrypoint import console
    from entrypoint.catalog.load import load_catalog
    from entrypoint.catalog.selection import named

    chosen = named(load_catalog(catalog_name), name)
    if as_json:
        console.result([artifact.model_dump(mode="json") for artifact in chosen])
        return
    for artifact in chosen:
        fields = artifact.model_dump(mode="json", exclude_defaults=True).items()
        rows = [(key, ", ".join(value) if isinstance(value, list) else value) for key, value in fields]
        console.table(artifact.name, ("key", "value"), rows)

"""From what the user asks for to the artifacts that have to be on the volume."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from entrypoint.catalog.schema import Artifact, Catalog
from libmoe.config.errors import UsageError, nearest


@dataclass(frozen=True)
class Selection:
    """Artifacts to be on the volume: each annotation set is followed by what it needs."""

    stages: tuple[str, ...]
    artifacts: tuple[Artifact, ...]
    annotations: dict[str, tuple[str, ...]]
    """Stage to the selected annotation sets it trains on."""

    catalog: Catalog
    """With what is preferred in place of what it is an alternative to."""

    def needs(self, annotations: str) -> tuple[Artifact, ...]:
        """What a training with one annotation set takes, the set itself first."""
        return tuple(_with_needs(self.catalog, [annotations]).values())


def select(
    catalog: Catalog,
    stages: Sequence[str] = (),
    only: Sequence[str] = (),
    prefer: Sequence[str] = (),
    preset: str | None = None,
) -> Selection:
    """Everything the stages train on, or only what is named, with what that needs.

    With both, the names must belong to the stages. What is preferred replaces what the catalogue calls it
    an alternative to, as the base weights of ``preset`` do.

    Raises:
        UsageError: nothing is asked for, or a name or the preset is unknown, or is not part of the stages.
    """
    if not stages and not only:
        raise UsageError("Say which data: --stage 1, 2, 3 or all, or --only NAME.")
    catalog = _with(catalog, {**_of_preset(catalog, preset), **_preferred(catalog, prefer)})
    wanted = {stage: catalog.stages.get(stage, ()) for stage in stages}
    for stage, annotations in wanted.items():
        if not annotations:
            raise UsageError(f"The catalogue {catalog.catalog.name!r} has nothing for stage {stage!r}.")
    of_stages = _with_needs(catalog, [name for names in wanted.values() for name in names])
    roots = _expand(catalog, only) if only else list(of_stages)
    if stages:
        for name in roots:
            if name not in of_stages:
                raise UsageError(
                    f"{name!r} is not part of stage {' or '.join(stages)}: {nearest(name, of_stages)}"
                )
    artifacts = _with_needs(catalog, roots)
    annotations_of = {
        stage: tuple(name for name in names if name in artifacts) for stage, names in wanted.items()
    }
    return Selection(tuple(stages), tuple(artifacts.values()), annotations_of, catalog)


def _of_preset(catalog: Catalog, preset: str | None) -> dict[str, str]:
    """What a preset takes in place of what annotations name; a catalogue may know of none."""
    if preset is None:
        return {}
    if preset not in catalog.presets:
        raise UsageError(
            f"The catalogue {catalog.catalog.name!r} has no base weights for preset {preset!r}: "
            f"{nearest(preset, catalog.presets)}"
        )
    return catalog.presets[preset]


def _preferred(catalog: Catalog, prefer: Sequence[str]) -> dict[str, str]:
    """What is preferred, by what it is an alternative to."""
    alternatives = {a.name: a.in_place_of for a in catalog.artifacts if a.in_place_of}
    for name in prefer:
        if name not in alternatives:
            raise UsageError(
                f"--prefer {name!r} is not an alternative to anything: {nearest(name, alternatives)}"
            )
    return {alternatives[name]: name for name in prefer}


def _with(catalog: Catalog, instead: Mapping[str, str]) -> Catalog:
    """The catalogue in which everything needs the values of ``instead`` where it needed the keys."""

    def swap(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(instead.get(name, name) for name in names)

    groups = {group: swap(members) for group, members in catalog.groups.items()}
    artifacts = tuple(a.model_copy(update={"needs": swap(a.needs)}) for a in catalog.artifacts)
    return catalog.model_copy(update={"groups": groups, "artifacts": artifacts})


def named(catalog: Catalog, name: str) -> tuple[Artifact, ...]:
    """The artifact of that name, or those of the group.

    Raises:
        UsageError: there is no such artifact or group.
    """
    return tuple(catalog.artifact(member) for member in _expand(catalog, [name]))


def _expand(catalog: Catalog, names: Iterable[str]) -> list[str]:
    known = {artifact.name for artifact in catalog.artifacts}
    expanded: list[str] = []
    for name in names:
        if name in catalog.groups:
            expanded += catalog.groups[name]
        elif name in known:
            expanded.append(name)
        else:
            raise UsageError(f"Unknown artifact {name!r}: {nearest(name, {*known, *catalog.groups})}")
    return expanded


def _with_needs(catalog: Catalog, names: Iterable[str]) -> dict[str, Artifact]:
    """The named artifacts and what they need, each once, a need after the first that has it."""
    chosen: dict[str, Artifact] = {}
    waiting = list(names)
    while waiting:
        artifact = catalog.artifact(waiting.pop(0))
        if artifact.name not in chosen:
            chosen[artifact.name] = artifact
            waiting = _expand(catalog, artifact.needs) + waiting
    return chosen

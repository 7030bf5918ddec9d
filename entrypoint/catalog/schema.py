"""What a catalogue file may say: the typed form of its TOML.

An artifact is one download: an ``archive`` (zip) that is unpacked, ``annotations`` (LLaVA's JSON) that are
indexed, or a ``file`` that is kept as it is.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from libmoe.config.stages import STAGES

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+/\S+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(ge=0)]

_OURS = (".libmoe", "runs")


def _inside_volume(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError("must be a relative path without '..'")
    if parts and parts[0] in _OURS:
        raise ValueError(f"{parts[0]}/ is libmoe's own")
    return path.strip("/")


VolumePath = Annotated[str, AfterValidator(_inside_volume)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Artifact(_Strict):
    """One thing that can be fetched, where it lands and what is known about it."""

    name: Name
    kind: Literal["archive", "annotations", "file"]
    urls: Annotated[tuple[Url, ...], Field(min_length=1)]
    """In order of preference."""
    revision: str | None = None
    """The source's own version, where it has any: a change of it makes what is on a volume out of date."""
    size: Bytes | None = None
    """Exact; a download of another size is refused."""
    approximate_size: Bytes | None = None
    """For planning only, where the exact size is not known."""
    sha256: Sha256 | None = None
    licence: str
    destination: VolumePath
    """Folder (archive) or file (annotations, file), relative to the volume's root."""
    layout: Literal["tree", "flatten"] = "tree"
    """Archive: keep the paths inside it, or the file names alone."""
    strip: VolumePath = ""
    """Archive: a top folder taken off when everything in the archive is under it."""
    unpacked_size: Bytes | None = None
    """Archive: bytes after extraction, for planning; taken as the archive's own size where not given."""
    needs: tuple[Name, ...] = ()
    """Annotations: artifacts or groups a training with them needs: images, base weights, tokenizer."""
    image_root: VolumePath = ""
    """Annotations: what makes a row's `image` relative to the volume's root."""

    @model_validator(mode="after")
    def _fields_fit_kind(self) -> Self:
        only = {
            "archive": ("layout", "strip", "unpacked_size"),
            "annotations": ("needs", "image_root"),
        }
        for kind, fields in only.items():
            given = [field for field in fields if field in self.model_fields_set]
            if given and self.kind != kind:
                raise ValueError(f"{given[0]} is for kind {kind!r} only")
        if self.size is not None and self.approximate_size is not None:
            raise ValueError("give size or approximate_size, not both")
        if self.kind != "archive" and not self.destination:
            raise ValueError("destination must name a file")
        return self

    @property
    def expected_size(self) -> int | None:
        """Bytes to fetch as far as they are known."""
        return self.size if self.size is not None else self.approximate_size

    @property
    def unpacked(self) -> int | None:
        """Bytes on the volume once it is in place; photographs hardly shrink in a zip."""
        return self.unpacked_size if self.unpacked_size is not None else self.expected_size


class Header(_Strict):
    """What the catalogue calls itself."""

    name: str
    description: str


class Catalog(_Strict):
    """A whole catalogue file."""

    catalog: Header
    stages: dict[str, tuple[Name, ...]] = {}
    """Stage to the annotations it trains on; what they need follows from `needs`."""
    groups: dict[Name, tuple[Name, ...]] = {}
    """A name for several artifacts, usable wherever an artifact's name is."""
    connections: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Host to the connections it bears at once."""
    artifacts: Annotated[tuple[Artifact, ...], Field(alias="artifact", min_length=1)]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        names = [artifact.name for artifact in self.artifacts]
        _refuse_twins("name", [*names, *self.groups])
        _refuse_twins("destination", [a.destination for a in self.artifacts if a.kind != "archive"])
        known = {*names, *self.groups}
        for stage, annotations in self.stages.items():
            if stage not in STAGES:
                raise ValueError(f"stages: {stage!r} is no stage (known: {', '.join(STAGES)})")
            _refuse_strangers(f"stages.{stage}", annotations, self._annotations())
        for group, members in self.groups.items():
            _refuse_strangers(f"groups.{group}", members, set(names))
        for artifact in self.artifacts:
            _refuse_strangers(f"artifact {artifact.name!r}: needs", artifact.needs, known)
        return self

    def _annotations(self) -> set[str]:
        return {artifact.name for artifact in self.artifacts if artifact.kind == "annotations"}

    def artifact(self, name: str) -> Artifact:
        """The artifact of that name; `KeyError` where there is none."""
        for artifact in self.artifacts:
            if artifact.name == name:
                return artifact
        raise KeyError(name)


def _refuse_twins(what: str, values: list[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{what} {value!r} is given twice")


def _refuse_strangers(where: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: unknown {name!r}")

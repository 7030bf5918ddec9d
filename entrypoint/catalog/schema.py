"""What a catalogue file may say: the typed form of its TOML.

An artifact is an ``archive`` (zip, perhaps in parts) that is unpacked, ``annotations`` (LLaVA's JSON) that
are indexed, ``images`` (a JSON of image URLs) that are fetched one by one, or a ``file`` that is kept as it
is.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from entrypoint.volume_paths import OURS
from libmoe.config.stages import STAGES

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+/\S+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(ge=0)]


def _inside_volume(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError("must be a relative path without '..'")
    if parts and parts[0] in OURS:
        raise ValueError(f"{parts[0]}/ is reserved for libmoe")
    return path.strip("/")


VolumePath = Annotated[str, AfterValidator(_inside_volume)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Part(_Strict):
    """One of the files an archive was cut into."""

    urls: Annotated[tuple[Url, ...], Field(min_length=1)]
    """In order of preference."""
    size: Bytes | None = None
    sha256: Sha256 | None = None

    @property
    def file_name(self) -> str:
        """The last piece of its path, by whose natural order the parts are joined."""
        return PurePosixPath(urlsplit(self.urls[0]).path).name


class Artifact(_Strict):
    """One thing that can be fetched, where it lands and what is known about it."""

    name: Name
    kind: Literal["archive", "annotations", "images", "file"]
    urls: tuple[Url, ...] = ()
    """In order of preference; for images: of the JSON that lists them."""
    parts: tuple[Part, ...] = ()
    """Archive: the files it was cut into, in place of `urls`."""
    parts_listing: Url | None = None
    """Archive: where the hub's tree API lists the parts, as long as the catalogue does not."""
    parts_pattern: str = "*"
    """Archive: the names of the parts in that listing."""
    revision: str | None = None
    """The source's own version, where it has any: a change of it makes what is on a volume out of date."""
    size: Bytes | None = None
    """Exact; a download of another size is refused."""
    approximate_size: Bytes | None = None
    """For planning only, where the exact size is not known."""
    sha256: Sha256 | None = None
    licence: str
    destination: VolumePath
    """Folder (archive, images) or file (annotations, file), relative to the volume's root."""
    layout: Literal["tree", "flatten"] = "tree"
    """Archive: keep the paths inside it below the destination, or the file names alone. A top folder that
    repeats the destination's end is removed (see `prepare/unpack/layout.py`)."""
    strip: VolumePath = ""
    """Archive: another top folder that is removed when everything in the archive is under it."""
    unpacked_size: Bytes | None = None
    """Archive: bytes after extraction, for planning; taken as the archive's own size where not given."""
    files: Annotated[int, Field(ge=1)] | None = None
    """Archive, images: about how many files it becomes, for planning."""
    needs: tuple[Name, ...] = ()
    """Annotations: artifacts or groups a training with them needs: images, base weights, tokenizer."""
    image_root: VolumePath = ""
    """Annotations: what makes a row's `image` relative to the volume's root."""
    image_roots: tuple[VolumePath, ...] = ()
    """Annotations: roots to try where the source does not say; the one whose images are there wins."""
    in_place_of: Name | None = None
    """The artifact that this one is an alternative to, with the same files; chosen with `--prefer`."""

    @model_validator(mode="after")
    def _fields_fit_kind(self) -> Self:
        only = {
            "archive": ("layout", "strip", "parts", "parts_listing", "parts_pattern"),
            "archive or images": ("unpacked_size", "files"),
            "annotations": ("needs", "image_root", "image_roots"),
        }
        for kinds, fields in only.items():
            given = [field for field in fields if field in self.model_fields_set]
            if given and self.kind not in kinds.split(" or "):
                raise ValueError(f"{given[0]} is for kind {kinds!r} only")
        if sum(map(bool, (self.urls, self.parts, self.parts_listing))) != 1:
            raise ValueError("give one of urls, parts and parts_listing")
        if self.parts and (self.size is not None or self.sha256):
            raise ValueError("with parts, each part has its own size and sha256")
        if self.image_root and self.image_roots:
            raise ValueError("give image_root or image_roots, not both")
        if self.size is not None and self.approximate_size is not None:
            raise ValueError("give size or approximate_size, not both")
        if self.kind != "archive" and not self.destination:
            raise ValueError("destination must name a file")
        return self

    @property
    def roots(self) -> tuple[str, ...]:
        """What may stand before a row's image, the likeliest first."""
        return self.image_roots or (self.image_root,)

    @property
    def downloads(self) -> tuple["Artifact", ...]:
        """What is really fetched: the artifact itself, or its parts as files in the order they are joined."""
        if not self.parts:
            return (self,) if self.urls else ()
        ordered = sorted(self.parts, key=lambda part: (natural_key(part.file_name), part.file_name))
        return tuple(self._part(number, part) for number, part in enumerate(ordered, start=1))

    def _part(self, number: int, part: Part) -> "Artifact":
        return Artifact(
            name=f"{self.name}.part{number:03d}",
            kind="file",
            urls=part.urls,
            revision=self.revision,
            size=part.size,
            sha256=part.sha256,
            licence=self.licence,
            destination=f"{self.destination}/{part.file_name}",
        )

    @property
    def size_is_exact(self) -> bool:
        """Whether the source says so."""
        return bool(self.downloads) and all(download.size is not None for download in self.downloads)

    @property
    def expected_size(self) -> int | None:
        """Bytes to fetch as far as they are known."""
        if self.parts and self.size_is_exact:
            return sum(part.size or 0 for part in self.parts)
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
    presets: dict[str, dict[Name, Name]] = {}
    """Preset to what its models take in place of an artifact or group that annotations need."""
    connections: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Host to the connections it allows at once."""
    artifacts: Annotated[tuple[Artifact, ...], Field(alias="artifact", min_length=1)]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        names = [artifact.name for artifact in self.artifacts]
        _refuse_twins("name", [*names, *self.groups])
        _refuse_twins(
            "destination", [a.destination for a in self.artifacts if a.kind in ("annotations", "file")]
        )
        known = {*names, *self.groups}
        for stage, annotations in self.stages.items():
            if stage not in STAGES:
                raise ValueError(f"stages: {stage!r} is not a stage (known: {', '.join(STAGES)})")
            _refuse_strangers(f"stages.{stage}", annotations, self._annotations())
        for group, members in self.groups.items():
            _refuse_strangers(f"groups.{group}", members, set(names))
        for preset, instead in self.presets.items():
            _refuse_strangers(f"presets.{preset}", [*instead, *instead.values()], known)
        for artifact in self.artifacts:
            _refuse_strangers(f"artifact {artifact.name!r}: needs", artifact.needs, known)
            if artifact.in_place_of:
                _refuse_strangers(
                    f"artifact {artifact.name!r}: in_place_of", [artifact.in_place_of], set(names)
                )
        return self

    def _annotations(self) -> set[str]:
        return {artifact.name for artifact in self.artifacts if artifact.kind == "annotations"}

    def artifact(self, name: str) -> Artifact:
        """The artifact of that name; `KeyError` where there is none."""
        for artifact in self.artifacts:
            if artifact.name == name:
                return artifact
        raise KeyError(name)


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts ``part_2`` before ``part_10``."""
    pieces = re.findall(r"\d+|\D+", name)
    return tuple((0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces)


def _refuse_twins(what: str, values: list[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{what} {value!r} is given twice")


def _refuse_strangers(where: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: unknown {name!r}")

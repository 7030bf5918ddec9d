"""What `doctor` says of an image's manifest and SBOM, and where there is none."""

import json
from importlib import metadata
from pathlib import Path

from entrypoint.doctor.image import image_findings, manifest, sbom
from tests.docker.sbom import MANIFEST
from tests.docker.sbom import sbom as document


def write(folder: Path, packages: list[dict[str, str | None]]) -> None:
    """An image's two files."""
    told = {**MANIFEST, "packages": packages}
    (folder / "manifest.json").write_text(json.dumps(told))
    (folder / "sbom.spdx.json").write_text(json.dumps(document(told)))


def installed() -> list[dict[str, str | None]]:
    """This environment as a manifest would tell it."""
    found = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    return [{"kind": "python", "name": name, "version": found[name], "sha256": None} for name in found]


def test_outside_an_image_there_is_neither(tmp_path: Path) -> None:
    assert manifest(tmp_path) is None
    assert sbom(tmp_path) is None
    (finding,) = image_findings(tmp_path)
    assert finding.verdict == "ok"
    assert "none" in finding.found


def test_an_image_as_it_was_built(tmp_path: Path) -> None:
    write(tmp_path, installed())
    (finding,) = image_findings(tmp_path)
    assert finding.verdict == "ok", finding.found
    told = sbom(tmp_path)
    assert told is not None
    assert (told["format"], told["packages"]) == ("SPDX-2.3", len(installed()) + 1)


def test_an_image_in_which_something_was_installed_or_changed(tmp_path: Path) -> None:
    packages = [one for one in installed() if one["name"] != "click"]
    packages[0]["version"] = "0"
    write(tmp_path, packages)
    (finding,) = image_findings(tmp_path)
    assert finding.verdict == "warn"
    assert "click" in finding.found
    assert str(packages[0]["name"]) in finding.found

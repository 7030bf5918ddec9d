"""What docs/catalog.md says of catalogues."""

import re
from pathlib import Path

import pytest

from entrypoint.catalog.load import load_catalog
from entrypoint.catalog.schema import Artifact
from entrypoint.catalog.selection import select

DOC = Path(__file__).parents[3] / "docs/catalog.md"


@pytest.fixture(scope="module")
def text():
    return DOC.read_text(encoding="utf-8")


def test_the_example_is_a_catalogue(text, tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "lab.toml"
    path.write_text(example)
    catalog = load_catalog(str(path))
    chosen = select(catalog, ["sft"]).artifacts
    assert [artifact.name for artifact in chosen] == ["lab-captions", "lab-photos", "lab-scans"]
    assert [part.name for part in chosen[2].downloads] == ["lab-scans.part001", "lab-scans.part002"]


def test_every_key_and_kind_is_described(text):
    table = text.partition("## Keys of an artifact")[2]
    missing = [key for key in Artifact.model_fields if key != "kind" and f"`{key}`" not in table]
    assert missing == []
    kinds = Artifact.model_json_schema()["properties"]["kind"]["enum"]
    assert [kind for kind in kinds if f"| `{kind}` |" not in text] == []

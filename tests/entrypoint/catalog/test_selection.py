"""From stages and names to artifacts."""

import pytest

from entrypoint.catalog.schema import Catalog
from entrypoint.catalog.selection import select
from libmoe.config.errors import UsageError


def entry(name, kind="file", **fields):
    return {
        "name": name, "kind": kind, "urls": [f"https://h.org/{name}"], "licence": "free",
        "destination": f"{name}.x", **fields,
    }  # fmt: skip


@pytest.fixture
def catalog() -> Catalog:
    return Catalog.model_validate(
        {
            "catalog": {"name": "c", "description": "d"},
            "stages": {"pretrain": ["one"], "sft": ["two", "three"]},
            "groups": {"weights": ["w1", "w2"], "both-images": ["zip1", "zip2"]},
            "artifact": [
                entry("zip1", "archive"),
                entry("zip2", "archive"),
                entry("w1"),
                entry("w2"),
                entry("one", "annotations", needs=["zip1", "weights"]),
                entry("two", "annotations", needs=["both-images", "weights"]),
                entry("three", "annotations", needs=["zip2"]),
                entry("four", "annotations"),
            ],
        }
    )


def names(selection):
    return [artifact.name for artifact in selection.artifacts]


def test_a_stage_is_its_annotations_and_what_they_need(catalog):
    assert names(select(catalog, ["pretrain"])) == ["one", "zip1", "w1", "w2"]
    assert names(select(catalog, ["sft"])) == ["two", "zip1", "zip2", "w1", "w2", "three"]


def test_nothing_comes_twice(catalog):
    chosen = names(select(catalog, ["pretrain", "sft"]))
    assert sorted(chosen) == sorted(set(chosen))


def test_names_and_groups(catalog):
    assert names(select(catalog, only=["three"])) == ["three", "zip2"]
    assert names(select(catalog, only=["weights", "zip1"])) == ["w1", "w2", "zip1"]


def test_both_take_the_least_that_is_needed(catalog):
    selection = select(catalog, ["sft"], ["three"])
    assert names(selection) == ["three", "zip2"]
    assert selection.annotations == {"sft": ("three",)}


@pytest.mark.parametrize(
    ("stages", "only", "words"),
    [
        ([], [], "Say what to prepare"),
        ([], ["tow"], "Unknown artifact 'tow': did you mean 'two'"),
        (["pft"], [], "has nothing for stage 'pft'"),
        (["pretrain"], ["three"], "'three' is not part of stage pretrain"),
    ],
)
def test_what_cannot_be_selected(catalog, stages, only, words):
    with pytest.raises(UsageError, match=words):
        select(catalog, stages, only)

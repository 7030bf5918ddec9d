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


def given(catalog):
    return catalog.model_dump(by_alias=True, exclude_unset=True)


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
        ([], [], "Say which data"),
        ([], ["tow"], "Unknown artifact 'tow': did you mean 'two'"),
        (["pft"], [], "has nothing for stage 'pft'"),
        (["pretrain"], ["three"], "'three' is not part of stage pretrain"),
    ],
)
def test_what_cannot_be_selected(catalog, stages, only, words):
    with pytest.raises(UsageError, match=words):
        select(catalog, stages, only)


def test_a_preset_takes_its_own_weights(catalog):
    content = {
        **catalog.model_dump(by_alias=True, exclude_unset=True),
        "presets": {"own": {}, "other": {"weights": "four"}},
    }
    catalog = Catalog.model_validate(content)
    assert names(select(catalog, ["pretrain"], preset="own")) == ["one", "zip1", "w1", "w2"]
    assert names(select(catalog, ["pretrain"], preset="other")) == ["one", "zip1", "four"]


def test_an_unknown_preset_is_refused_with_the_known_ones(catalog):
    catalog = catalog.model_copy(update={"presets": {"tiny": {}}})
    with pytest.raises(UsageError, match="no base weights for preset 'tinny': did you mean 'tiny'"):
        select(catalog, ["pretrain"], preset="tinny")


def test_a_preset_names_what_is_there(catalog):
    content = {
        **catalog.model_dump(by_alias=True, exclude_unset=True),
        "presets": {"own": {"weights": "nothing"}},
    }
    with pytest.raises(ValueError, match=r"presets\.own: unknown 'nothing'"):
        Catalog.model_validate(content)

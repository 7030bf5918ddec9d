"""Rows that prepare's audit knows about."""

import json

import pytest

from libmoe.config.usable import known_unusable, usable


@pytest.fixture
def index(tmp_path):
    """Where `prepare` puts an index, with its audit beside it."""
    (tmp_path / "index").mkdir()
    (tmp_path / "audit").mkdir()
    return tmp_path / "index/set.filtered.arrow"


def test_what_the_audit_found(index):
    audit = index.parents[1] / "audit/set.filtered.json"
    audit.write_text(json.dumps({"rows": 5, "unusable_rows": [3, 1]}))
    assert known_unusable(index, 5) == [1, 3]
    assert usable(5, [1, 3]).tolist() == [0, 2, 4]


@pytest.mark.parametrize("audit", [None, "", '{"rows": 4, "unusable_rows": [1]}', '{"rows": 5}'])
def test_nothing_is_known_without_an_audit_of_this_index(index, audit):
    if audit is not None:
        (index.parents[1] / "audit/set.filtered.json").write_text(audit)
    assert known_unusable(index, 5) == []
    assert usable(2, []).tolist() == [0, 1]

"""Writing down what the sources say."""

import hashlib
import tomllib

import pytest

from entrypoint.catalog.schema import Catalog
from entrypoint.prepare.freeze import freeze
from entrypoint.prepare.transport.addresses import Addresses
from libmoe.config.errors import UnavailableError


def frozen(world, addresses, with_hash=False):
    return freeze(world.catalog(), addresses, with_hash, lambda line: None)


def entries(result) -> dict:
    content = tomllib.loads(result.text)
    assert Catalog.model_validate(content)
    return {entry["name"]: entry for entry in content["artifact"]}


def test_what_the_catalogue_says_wrongly_is_written_anew(small):
    right = dict(small.artifacts["images"])
    small.artifacts["images"] |= {"size": 1, "sha256": "0" * 64}
    found = entries(frozen(small, Addresses(small.hub.url)))
    assert {key: found["images"][key] for key in ("size", "sha256")} == {
        key: right[key] for key in ("size", "sha256")
    }
    assert found["images"]["urls"] == right["urls"]
    assert found["rows"]["needs"] == ["images", "weights"]


def test_what_nobody_tells_is_fetched_with_hash_alone(small):
    known = small.artifacts["weights"].pop("sha256")
    assert "sha256" not in entries(frozen(small, Addresses(small.hub.url)))["weights"]
    assert entries(frozen(small, Addresses(small.hub.url), with_hash=True))["weights"]["sha256"] == known
    local = Addresses(f"file://{small.served}")
    assert entries(frozen(small, local, with_hash=True))["weights"]["sha256"] == known


def test_the_hubs_own_commit_is_pinned(small):
    del small.artifacts["weights"], small.artifacts["rows"]
    small.stages.clear()
    endpoint = Addresses(endpoint=f"{small.hub.url}/huggingface.co")
    entry = entries(frozen(small, endpoint))["images"]
    commit = hashlib.sha1(b"main").hexdigest()
    assert entry["revision"] == commit
    assert entry["urls"] == [f"https://huggingface.co/datasets/org/set/resolve/{commit}/images.zip"]


def test_what_does_not_answer_stays_as_it_was(small):
    (small.served / "images.example.org/weights.bin").unlink()
    result = frozen(small, Addresses(small.hub.url))
    assert entries(result)["weights"] == small.artifacts["weights"]
    with pytest.raises(UnavailableError, match=r"weights could not be looked up.*404"):
        result.require_whole()

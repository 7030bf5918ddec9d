"""One selection in several shares."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.shards import pick, right_to_write
from entrypoint.shard import Shard
from libmoe.config.errors import TryAgainError, UsageError
from tests.entrypoint.prepare.conftest import World


def artifact(number: int, size: int) -> Artifact:
    return Artifact(
        name=f"a{number}",
        kind="file",
        urls=("https://h.org/a",),
        licence="x",
        destination=f"{number}",
        size=size,
    )


@given(sizes=st.lists(st.integers(0, 10**9), max_size=20), of=st.integers(1, 6))
def test_every_artifact_is_in_one_share_and_shares_are_alike(sizes, of):
    artifacts = [artifact(number, size) for number, size in enumerate(sizes)]
    shares = [pick(artifacts, Shard(number, of)) for number in range(of)]
    assert sorted(a.name for share in shares for a in share) == sorted(a.name for a in artifacts)
    weights = [sum(a.size or 0 for a in share) for share in shares]
    assert max(weights) - min(weights) <= max(sizes, default=0)


def test_images_by_url_are_with_the_annotations_that_use_them():
    rows, pictures = artifact(0, 5), artifact(1, 0).model_copy(update={"kind": "images"})
    rows = rows.model_copy(update={"kind": "annotations"})
    shares = [pick([rows, pictures, artifact(2, 1), artifact(3, 1)], Shard(n, 3)) for n in range(3)]
    assert sorted(len(share) for share in shares) == [1, 1, 2]
    assert {a.name for a in max(shares, key=len)} == {"a0", "a1"}


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "0/0", "1/2/3"])
def test_what_is_not_a_share(text):
    with pytest.raises(UsageError, match="is not a share"):
        Shard.parse(text)


def test_shares_at_once_and_a_verify_that_closes(small: World):
    tree = {}
    with ThreadPoolExecutor(3) as pool:
        mirror = ["--mirror", small.hub.url, "--stage", "1", "--json"]
        runs = list(pool.map(lambda n: small.run("prepare", "--shard", f"{n}/3", *mirror), range(3)))
    assert [code for code, _, _ in runs] == [0, 0, 0], runs
    done = [json.loads(out)["done"] for _, out, _ in runs]
    assert sorted(name for names in done for name in names) == ["images", "rows", "weights"]
    code, out, err = small.run("verify", "--stage", "1", "--json")
    assert (code, json.loads(out)["stages"]) == (0, {"pretrain": "ready"}), err
    tree = small.tree()
    assert small.prepare().plan.missing == ()
    assert small.tree() == tree


def test_who_may_work_beside_whom(small: World):
    volume = small.volume
    volume.check()

    def share(number: int, of: int):
        return replace(volume, share=Shard(number, of))

    with right_to_write(share(0, 2)):
        with right_to_write(share(1, 2)):
            pass
        with pytest.raises(TryAgainError, match="Share 0-of-2"), right_to_write(share(0, 2)):
            pass
        with pytest.raises(TryAgainError, match="Share 0-of-2"), right_to_write(share(0, 3)):
            pass
        with pytest.raises(TryAgainError, match="Share 0-of-2"), right_to_write(volume):
            pass


def test_who_waits_goes_on_when_the_others_have_ended(small: World):
    small.volume.check()
    told = []
    held = right_to_write(replace(small.volume, share=Shard(0, 2)))
    held.__enter__()

    def wait(who: str) -> None:
        told.append(who)
        held.__exit__(None, None, None)

    with right_to_write(small.volume, wait):
        assert "Share 0-of-2" in told[0]


def test_a_share_waits_not_for_long_for_the_whole(small: World, monkeypatch):
    monkeypatch.setattr("entrypoint.prepare.shards._PATIENCE_SECONDS", 0.2)
    small.volume.check()
    with right_to_write(small.volume), pytest.raises(TryAgainError, match="The volume"):
        right_to_write(replace(small.volume, share=Shard(0, 2))).__enter__()

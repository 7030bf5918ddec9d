"""prepare from end to end, against a real aria2c and a real server."""

import json
import threading
from dataclasses import asdict

import pytest

from entrypoint.prepare.events import Finished
from libmoe.config.errors import DataError, TryAgainError, UnavailableError, VolumeError
from tests.entrypoint.prepare.conftest import held
from tests.waiting import wait_for


def test_everything_lands_where_the_catalogue_says(small):
    outcome = small.prepare()
    assert outcome.report.ready
    assert outcome.report.stage_verdict("pretrain") == "ready"
    tree = small.tree()
    assert set(tree) == {
        "jsons/rows.json",
        "models/org/m/weights.bin",
        *(f"images/0000{number % 2}/{number}.jpg" for number in range(6)),
    }
    assert tree["models/org/m/weights.bin"] == (small.served / "images.example.org/weights.bin").read_bytes()
    assert not any(small.volume.partials.iterdir())
    assert not any((small.volume.hidden / "archives").iterdir())


def test_a_receipt_says_where_it_came_from(small):
    small.prepare()
    receipt = asdict(small.volume.receipt("images"))
    assert receipt["url"] == small.artifacts["images"]["urls"][0]
    assert receipt["source"] == small.hub.url.removeprefix("http://")
    assert receipt["sha256"] == small.artifacts["images"]["sha256"]
    assert (receipt["files"], receipt["kind"], len(receipt["commit"])) == (6, "archive", 40)
    assert receipt["tool"].startswith("libmoe/")


def test_a_second_run_asks_nobody_and_writes_nothing(small):
    small.prepare()
    asked, tree = len(small.hub.requests), small.tree()
    stamps = {path: path.stat().st_mtime_ns for path in small.volume.root.rglob("*.jpg")}
    index = small.volume.index_path("rows").stat().st_mtime_ns
    small.events.clear()
    outcome = small.prepare()
    assert not outcome.plan.missing
    assert len(small.hub.requests) == asked
    assert not small.finished()
    assert small.tree() == tree
    assert stamps == {path: path.stat().st_mtime_ns for path in small.volume.root.rglob("*.jpg")}
    assert small.volume.index_path("rows").stat().st_mtime_ns == index


def test_only_what_is_named_and_what_it_needs(small):
    small.prepare("weights")
    assert set(small.tree()) == {"models/org/m/weights.bin"}


def test_without_a_known_hash_the_one_seen_is_recorded(small):
    known = small.artifacts["weights"].pop("sha256")
    del small.artifacts["weights"]["size"]
    small.prepare("weights")
    assert small.volume.receipt("weights").sha256 == known


def test_a_file_that_went_missing_is_brought_back(small):
    small.prepare()
    tree = small.tree()
    small.volume.path("images/00001/3.jpg").unlink()
    small.volume.path("jsons/rows.json").unlink()
    small.events.clear()
    outcome = small.prepare()
    assert {step.state.kind for step in outcome.plan.missing} == {"damaged"}
    assert sorted(small.finished()) == ["images", "rows"]
    assert small.tree() == tree


def test_a_lost_index_is_made_again_from_the_json(small):
    small.prepare()
    asked = len(small.hub.requests)
    small.volume.index_path("rows").unlink()
    assert small.prepare().report.ready
    assert len(small.hub.requests) == asked


def test_a_kept_archive_spares_the_download(small):
    small.prepare(keep_archives=True)
    assert small.volume.archive("images").is_file()
    small.volume.path("images/00001/3.jpg").unlink()
    asked = len(small.hub.requests)
    small.prepare(keep_archives=True)
    assert len(small.hub.requests) == asked
    assert small.volume.path("images/00001/3.jpg").is_file()


def test_what_fails_does_not_stop_the_others(small):
    (small.served / "huggingface.co/datasets/org/set/resolve/main/images.zip").unlink()
    with pytest.raises(UnavailableError, match=r"images.*404"):
        small.prepare()
    assert sorted(small.finished()) == ["rows", "weights"]
    assert small.volume.receipt("images") is None


def test_a_corrupt_zip_is_named_and_dropped(world):
    world.add("images", "archive", "http://host.org/images.zip", b"PK\3\4 no zip at all", "images")
    world.start()
    with pytest.raises(DataError, match=r"The archive images is bad.*http://host.org/images.zip"):
        world.prepare("images")
    assert world.tree() == {}
    assert not world.volume.archive("images").exists()


def test_json_that_is_not_llavas_never_gets_its_name(world):
    table = json.dumps([{"id": "a", "conversations": [{"from": "system", "value": "x"}]}]).encode()
    world.add("rows", "annotations", "http://host.org/rows.json", table, "jsons/rows.json")
    world.start()
    with pytest.raises(DataError, match=r"jsons/rows.json is not LLaVA's JSON: row 1 \(id 'a'\).*'system'"):
        world.prepare("rows")
    assert world.tree() == {}
    assert not world.volume.index_path("rows").exists()


def test_it_stops_before_the_first_byte_when_it_does_not_fit(small):
    small.artifacts["images"]["size"] = 10**18
    with pytest.raises(VolumeError, match="too full"):
        small.prepare()
    assert not small.hub.requests


def test_a_second_prepare_is_told_who_holds_the_volume(small):
    small.volume.check()
    with small.volume.lock(), pytest.raises(TryAgainError, match=r"in use by process \d+ on .+ since 20"):
        small.prepare()
    assert small.prepare().report.ready


def test_of_two_at_once_one_does_the_work(small):
    opened, outcomes = threading.Event(), []
    small.stop()
    small.start(held(opened))
    thread = threading.Thread(target=lambda: outcomes.append(small.prepare()))
    thread.start()
    wait_for(lambda: small.hub.requests)
    with pytest.raises(TryAgainError):
        small.prepare()
    opened.set()
    thread.join()
    assert outcomes[0].report.ready


def test_an_interrupted_install_continues_without_fetching(small):
    """Killed between the rename and the receipt, or after the archive was set aside."""
    small.prepare("weights", keep_archives=True)
    small.prepare("images", keep_archives=True)
    asked, tree = len(small.hub.requests), small.tree()
    record = json.loads(small.volume.archive_state("images").read_text())
    receipt = small.volume.receipt("weights")
    source = {**record["source"], "url": receipt.url, "sha256": receipt.sha256, "size": receipt.size}
    state = {"source": source, "complete": True, "size": receipt.size, "sha256": receipt.sha256}
    small.volume.partial_state("weights").write_text(json.dumps(state))
    small.volume.receipt_path("weights").unlink()
    small.volume.receipt_path("images").unlink()
    small.events.clear()
    small.prepare("weights", "images")
    assert sorted(small.finished()) == ["images", "weights"]
    assert len(small.hub.requests) == asked
    assert small.tree() == tree


def test_finished_counts_files_and_bytes(small):
    small.prepare()
    done = next(event for event in small.events if isinstance(event, Finished) and event.name == "images")
    assert (done.files, done.size) == (6, sum(p.stat().st_size for p in small.volume.root.rglob("*.jpg")))

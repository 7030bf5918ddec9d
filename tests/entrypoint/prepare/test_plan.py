"""What is planned, and what that takes."""

import json

from entrypoint.prepare.addresses import Addresses
from entrypoint.prepare.pipeline import IN_FLIGHT
from entrypoint.prepare.plan import make_plan


def plan(world, *only, **options):
    return make_plan(world.selection(*only).artifacts, world.volume, Addresses(), **options)


def sizes(world):
    return {name: entry["size"] for name, entry in world.artifacts.items()}


def test_nothing_is_written_and_nobody_is_asked(small):
    planned = plan(small)
    assert not small.volume.root.exists()
    assert not small.hub.requests
    assert [step.artifact.name for step in planned.steps] == ["rows", "images", "weights"]
    assert planned.to_fetch == sum(sizes(small).values())
    assert planned.fits


def test_peak_counts_the_index_and_what_is_beside(small):
    size = sizes(small)
    grows = 2 * size["rows"] + size["images"] + size["weights"]
    beside = sorted(size.values())[-IN_FLIGHT:]
    assert plan(small).peak_bytes == grows + sum(beside)
    assert plan(small, keep_archives=True).peak_bytes == grows + sum(size.values())


def test_what_is_ready_takes_nothing(small):
    small.prepare("weights")
    planned = plan(small)
    assert {step.artifact.name: step.state.kind for step in planned.steps} == {
        "rows": "absent", "images": "absent", "weights": "ready",
    }  # fmt: skip
    assert planned.to_fetch == sizes(small)["rows"] + sizes(small)["images"]
    small.prepare()
    assert (plan(small).peak_bytes, plan(small).to_fetch, plan(small).missing) == (0, 0, ())


def test_an_unknown_size_is_not_taken_for_nothing(small):
    del small.artifacts["weights"]["size"]
    planned = plan(small)
    assert planned.unknown == 1
    described = planned.as_dict()["files"][2]
    assert (described["size"], described["to_fetch"], described["size_is_exact"]) == (None, None, False)
    json.dumps(planned.as_dict())


def test_a_change_of_the_catalogue_makes_an_artifact_out_of_date(small):
    small.artifacts["weights"]["revision"] = "one"
    small.prepare()
    assert not plan(small).missing
    small.artifacts["weights"]["revision"] = "two"
    (step,) = plan(small).missing
    assert (step.state.kind, step.state.reason) == ("damaged", "the catalogue has another revision")
    small.prepare()
    assert not plan(small).missing
    small.artifacts["weights"]["destination"] = "models/elsewhere.bin"
    assert plan(small).missing[0].state.reason.startswith("it is in models/org/m/weights.bin")


def test_a_file_of_another_size_is_damaged(small):
    small.prepare()
    small.volume.path("models/org/m/weights.bin").write_bytes(b"short")
    (step,) = plan(small).missing
    assert step.state.reason == "models/org/m/weights.bin has 5 bytes, not 3000"


def test_a_file_system_that_does_not_say_is_believed(small, monkeypatch):
    monkeypatch.setattr(type(small.volume), "free_bytes", lambda volume: None)
    assert plan(small).fits

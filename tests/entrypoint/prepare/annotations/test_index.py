"""LLaVA's JSON to the Arrow index."""

import hashlib
import json

import pyarrow as pa
import pytest

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.annotations.index import build_index, image_column, is_current, misplaced
from entrypoint.prepare.listing import Listing
from entrypoint.volume import Volume
from libmoe.config.annotations import index_schema
from libmoe.config.errors import DataError

GOOD = {"id": "a", "image": "1.jpg", "conversations": [{"from": "human", "value": "Q"}]}


def artifact(**fields) -> Artifact:
    return Artifact(
        name="rows", kind="annotations", urls=["http://h.org/r.json"], licence="free",
        destination="jsons/r.json", **fields,
    )  # fmt: skip


def index(tmp_path, rows, **fields) -> pa.Table:
    path = tmp_path / "r.json"
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    volume = Volume(tmp_path / "data")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    build_index(artifact(**fields), volume, path, digest, lambda rows: None)
    with pa.memory_map(str(volume.index_path("rows"))) as source:
        return pa.ipc.open_file(source).read_all()


def test_rows_become_columns(tmp_path):
    rows = [
        GOOD,
        {"id": 7, "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "Ä \u2028"}]},
        {"image": ["x/1.jpg", "y/2.jpg"], "conversations": GOOD["conversations"]},
    ]
    table = index(tmp_path, rows, image_root="images")
    assert table.schema.equals(index_schema())
    assert table.to_pydict() == {
        "id": ["a", "7", "3"],
        "images": [["images/1.jpg"], [], ["images/x/1.jpg", "images/y/2.jpg"]],
        "conversations": [GOOD["conversations"], rows[1]["conversations"], GOOD["conversations"]],
    }


def test_metadata_says_which_annotations_these_are(tmp_path):
    metadata = index(tmp_path, [GOOD] * 3, image_root="images").schema.metadata
    digest = hashlib.sha256((tmp_path / "r.json").read_bytes()).hexdigest()
    assert metadata == {
        b"annotations": b"rows",
        b"sha256": digest.encode(),
        b"image_root": b"images",
        b"rows": b"3",
    }
    volume = Volume(tmp_path / "data")
    assert is_current(artifact(image_root="images"), volume, digest)
    assert not is_current(artifact(image_root="other"), volume, digest)
    assert not is_current(artifact(image_root="images"), volume, "0" * 64)
    volume.index_path("rows").write_bytes(b"not arrow")
    assert not is_current(artifact(image_root="images"), volume, digest)


def test_many_rows_make_many_batches(tmp_path):
    table = index(tmp_path, [{**GOOD, "id": number} for number in range(20_000)])
    assert table.column("id").to_pylist() == [str(number) for number in range(20_000)]
    assert table.column("id").num_chunks > 1


def turns(*pairs):
    return [{"from": who, "value": what} for who, what in pairs]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("text", "row 2: it is not an object"),
        ({"id": "b"}, r"row 2 \(id 'b'\): conversations is missing"),
        ({"id": "b", "conversations": []}, "conversations is missing"),
        ({"id": "b", "conversations": {}}, "not a list of turns"),
        ({"id": "b", "conversations": turns(("system", "x"))}, "from 'system', not from human or gpt"),
        ({"id": "b", "conversations": [{"value": "x"}]}, "from None"),
        ({"id": "b", "conversations": [{"from": "gpt"}]}, "no text"),
        ({"id": "b", "conversations": turns(("gpt", 5))}, "no text"),
        ({**GOOD, "image": 5}, "image 5 is not a path"),
        ({**GOOD, "image": ["a.jpg", ""]}, "image '' is not a path"),
        ({**GOOD, "image": "/etc/passwd"}, "leads outside the volume"),
        ({**GOOD, "image": "../../etc/passwd"}, "leads outside the volume"),
    ],
)
def test_what_is_not_llavas_is_named(tmp_path, row, words):
    with pytest.raises(DataError, match=f"jsons/r.json is not LLaVA's JSON: .*{words}"):
        index(tmp_path, [GOOD, row], image_root="images")
    assert not (tmp_path / "data/.libmoe/index").exists() or not any(
        (tmp_path / "data/.libmoe/index").iterdir()
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "not a list of rows"),
        ("[]", "not a list of rows"),
        ("null", "not a list of rows"),
        ('{"id": 1}', "not a list of rows"),
        ("", "not complete, valid JSON"),
        (json.dumps([GOOD, GOOD])[:-30], "not complete, valid JSON after row 1"),
        ("<html>", "not complete, valid JSON after row 0"),
    ],
)
def test_what_is_no_json_list(tmp_path, content, words):
    with pytest.raises(DataError, match=words):
        index(tmp_path, content)


def test_memory_does_not_grow_with_the_file(tmp_path):
    import tracemalloc

    path = tmp_path / "r.json"
    row = json.dumps({**GOOD, "conversations": turns(("human", "x" * 500), ("gpt", "y" * 500))})
    path.write_text("[" + ",".join([row] * 30_000) + "]")  # 33 MB
    tracemalloc.start()
    build_index(artifact(), Volume(tmp_path / "data"), path, "0" * 64, lambda rows: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6


def test_each_image_is_below_the_first_root_that_has_it(tmp_path):
    volume = Volume(tmp_path / "data")
    rows = [{**GOOD, "image": name} for name in ("a.jpg", "b.jpg", "two/c.jpg", "none.jpg")]
    for path in ("one/a.jpg", "two/a.jpg", "two/b.jpg", "two/c.jpg"):
        volume.path(path).parent.mkdir(parents=True, exist_ok=True)
        volume.path(path).write_bytes(b"x")
    described = artifact(image_roots=("one", "two", ""))
    path = tmp_path / "r.json"
    path.write_text(json.dumps(rows))
    build_index(described, volume, path, "0" * 64, lambda count: None)
    images = [row[0] for row in image_column(volume, described.name).to_pylist()]
    assert images == ["one/a.jpg", "two/b.jpg", "two/c.jpg", "one/none.jpg"]
    assert not misplaced(described, volume, Listing(volume.root))
    volume.path("none.jpg").write_bytes(b"x")
    assert misplaced(described, volume, Listing(volume.root))
    assert not misplaced(artifact(image_root="one"), volume, Listing(volume.root))

"""The commands as a user meets them: exit codes, one sentence, JSON alone on stdout."""

import json
import re
import subprocess
import sys

import pytest

from tests.entrypoint.mounts import mounted, remount
from tests.entrypoint.prepare.conftest import nobody_listens


def sentence(err: str) -> str:
    """The last line, which is the error; there is no traceback."""
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("libmoe: ")
    return last


def test_prepare_then_status_then_verify(small):
    mirror = ["--mirror", small.hub.url]
    code, out, err = small.run("prepare", "--stage", "1", *mirror, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["ready"]
    assert sorted(result["done"]) == ["images", "rows", "weights"]
    assert "images: in place (6 files" in err
    code, out, err = small.run("prepare", "--stage", "pretrain", *mirror)
    assert (code, "up to date, 3 artifacts are in place" in err) == (0, True)
    assert "ready" in out
    code, out, _ = small.run("status", "--json")
    assert {entry["state"] for entry in json.loads(out).values()} == {"ready"}
    code, out, _ = small.run("verify", "--stage", "1", "--deep", "--json")
    assert (code, json.loads(out)["stages"]) == (0, {"pretrain": "ready"})


def test_a_dry_run_prints_and_writes_nothing(small):
    code, out, _ = small.run("prepare", "--stage", "1", "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0
    assert [entry["destination"] for entry in plan["files"]] == [
        "jsons/rows.json",
        "images",
        "models/org/m/weights.bin",
    ]
    assert plan["files"][1]["url"] == small.artifacts["images"]["urls"][0]
    assert plan["fits"]
    code, out, err = small.run("prepare", "--stage", "1", "--dry-run", "--mirror", "http://m")
    assert (code, "http://m/huggingface.co/" in out.replace("\n", "")) == (0, True)
    assert "Disk needed at the peak" in err
    assert not small.volume.root.exists()


def test_verify_fails_while_an_image_is_missing(small):
    small.prepare()
    small.volume.path("images/00001/3.jpg").unlink()
    code, out, err = small.run("verify", "--stage", "1")
    assert code == 65
    assert "images/00001/3.jpg" in err
    assert "images is damaged" in sentence(err)
    code, out, _ = small.run("status", "--json")
    assert json.loads(out)["images"]["state"] == "damaged"


def test_status_says_how_much_of_a_download_is_here(small):
    small.prepare("weights")
    state = {"source": {"url": "u", "host": "h", "location": "l"}, "complete": True, "size": 750}
    small.volume.partial("images").write_bytes(bytes(small.artifacts["images"]["size"] // 4))
    small.volume.partial_state("images").write_text(json.dumps(state))
    code, out, _ = small.run("status", "--only", "images")
    assert (code, "(25%) fetched" in out) == (0, True)
    code, out, _ = small.run("status", "--only", "images", "--json")
    found = json.loads(out)["images"]
    assert (found["state"], found["size"]) == ("partial", small.artifacts["images"]["size"])
    assert found["have"] == found["size"] // 4
    code, out, _ = small.run("status", "--only", "weights")
    assert "fetched" not in out


def test_a_narrow_terminal_gets_hosts_instead_of_addresses(small):
    script = f"stty cols 80; exec {sys.executable} -c 'from entrypoint.cli import main; main()' prepare"
    where = f"--stage 1 --dry-run --data-dir {small.volume.root} --catalog {small.catalog_file()}"
    done = subprocess.run(
        ["script", "-qec", f"{script} {where}", "/dev/null"], capture_output=True, text=True
    )
    assert done.returncode == 0
    shown = re.sub(r"\x1b\[[\d;?]*\w", "", done.stdout).partition("To fetch")[0]
    assert "huggingface.co" in shown
    assert "https://" not in shown
    assert max(map(len, shown.splitlines())) == 80


def test_a_filtered_set_can_be_trained_on(small):
    small.prepare()
    small.volume.path("images/00001/3.jpg").write_bytes(b"")
    code, out, err = small.run("verify", "--stage", "1", "--write-filtered", "--json")
    assert code == 65, err
    found = json.loads(out)
    listed = small.volume.root / ".libmoe/audit/rows.unusable.txt"
    assert found["unusable"] == {"rows": str(listed)}
    assert listed.read_text() == "empty\timages/00001/3.jpg\n"
    written = small.volume.path("jsons/rows.filtered.json")
    assert found["filtered"] == {"rows.filtered": str(written)}
    original = json.loads(small.volume.path("jsons/rows.json").read_text())
    assert json.loads(written.read_text()) == [row for row in original if row["id"] != "r3"]
    assert small.volume.index_path("rows.filtered").is_file()
    small.volume.path("images/00001/3.jpg").unlink()
    small.prepare()
    code, out, _ = small.run("verify", "--stage", "1", "--json")
    assert (code, json.loads(out)["unusable"]) == (0, {})
    assert not listed.exists()


def test_a_volume_that_is_being_written_is_only_looked_at(small):
    small.prepare()
    with small.volume.lock():
        code, out, err = small.run("verify", "--stage", "1", "--json")
        assert (code, json.loads(out)["ready"], "nothing is written: " in err) == (0, True, True)
        code, _, err = small.run("verify", "--stage", "1", "--write-filtered")
        assert (code, "in use by process" in sentence(err)) == (75, True)


def test_a_read_only_volume_can_be_looked_at(small):
    with mounted(small.volume.root, "size=8m") as root:
        small.prepare()
        remount(root, "ro")
        code, out, err = small.run("verify", "--stage", "1", "--json")
        assert (code, json.loads(out)["ready"], "nothing is written: " in err) == (0, True, True)
        code, out, _ = small.run("status", "--json")
        assert (code, {entry["state"] for entry in json.loads(out).values()}) == (0, {"ready"})
        for command in (["prepare"], ["verify", "--write-filtered"]):
            code, _, err = small.run(*command, "--stage", "1")
            assert (code, "read-only file system" in sentence(err)) == (73, True)


def test_an_option_can_come_from_the_environment(small):
    code, out, _ = small.run("prepare", "--dry-run", "--json", LIBMOE_PREPARE_STAGE="1")
    assert (code, len(json.loads(out)["files"])) == (0, 3)


def test_a_flag_goes_before_the_guides_variable(small):
    _, out, _ = small.run("prepare", "--stage", "1", "--dry-run", "--json", TOOLKIT_DIR="/kit")
    assert json.loads(out)["data_dir"] == str(small.volume.root)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["prepare"], 2, "Say which data"),
        (["prepare", "--stage", "4"], 2, "Unknown stage '4'"),
        (["prepare", "--only", "wieghts"], 2, "did you mean 'weights'"),
        (["prepare", "--stage", "1", "--mirror", "m"], 2, "--mirror 'm' is not an address"),
        (["prepare", "--stage", "1", "--catalog", "gide"], 2, "did you mean 'guide'"),
        (["prepare", "--stage", "1", "--connections", "99"], 2, "--connections"),
        (["prepare", "--stage", "1", "--data-dir", "/no/where"], 73, "choose another with --data-dir"),
        (["prepare", "--stage", "1", "--data-dir", "/dev/null"], 73, "is in the way"),
        (["verify", "--stage", "1"], 73, "There is no data directory"),
        (["status"], 73, "There is no data directory"),
    ],
)
def test_bad_input_is_one_sentence(small, args, code, words):
    returned, out, err = small.run(*args)
    assert (returned, out) == (code, "")
    assert words in sentence(err)


def test_a_mirror_that_is_down(small):
    with nobody_listens() as url:
        code, _, err = small.run("prepare", "--stage", "1", "--mirror", url)
    assert code == 69
    assert f"Check that {url} runs" in sentence(err)


def test_a_volume_in_use(small):
    small.volume.check()
    with small.volume.lock():
        code, _, err = small.run("prepare", "--stage", "1", "--mirror", small.hub.url)
    assert (code, "in use by process" in sentence(err)) == (75, True)


def test_a_corrupt_zip(world):
    world.add("images", "archive", "http://host.org/images.zip", b"PK\3\4 broken", "images")
    world.start()
    code, _, err = world.run("prepare", "--only", "images", "--mirror", world.hub.url)
    assert (code, "The archive images is bad" in sentence(err)) == (65, True)


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["list", "--catalog", "sample"], 0, "sample-coco"),
        (["show", "vg-100k"], 0, "https://cs.stanford.edu/people/rak248/VG_100K_2/images.zip"),
        (["show", "phi-3.5-mini", "--json"], 0, "models/microsoft/Phi-3.5-mini-instruct/config.json"),
        (["show", "vg-200k"], 2, "did you mean 'vg-100k'"),
    ],
)
def test_the_catalogue_can_be_read(args, code, expected):
    program = [sys.executable, "-c", "from entrypoint.cli import main; main()", "catalog", *args]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == code
    assert expected in (sentence(done.stderr) if code else done.stdout)

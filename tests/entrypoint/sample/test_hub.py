"""The sample's hub answers as the real ones do."""

import hashlib
import subprocess
import sys

import httpx
import pytest

from entrypoint.sample.hub import Hub, Library, serve

RESOLVE = "/huggingface.co/datasets/org/set/resolve/main/a b.bin"
CONTENT = bytes(range(256)) * 10


@pytest.fixture
def root(tmp_path):
    for path in (RESOLVE, "/host.org/a.bin"):
        file = tmp_path / path.lstrip("/")
        file.parent.mkdir(parents=True)
        file.write_bytes(CONTENT)
    (tmp_path.parent / "outside").write_text("not served")
    return tmp_path


@pytest.fixture
def url(root):
    with serve(root) as url:
        yield url


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_hub_file_redirects_to_a_signed_url(url, method):
    answer = httpx.request(method, url + RESOLVE)
    assert answer.status_code == 302
    assert answer.headers["X-Linked-Etag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert answer.headers["X-Linked-Size"] == str(len(CONTENT))
    assert len(answer.headers["X-Repo-Commit"]) == 40
    location = httpx.URL(answer.headers["Location"])
    assert {"Expires", "Signature"} == set(location.params)
    assert httpx.get(location).content == CONTENT


def test_a_signature_is_checked_and_expires(root):
    with Hub(Library(root, signed_for_seconds=-1).answer) as hub:
        expired = httpx.get(hub.url + RESOLVE).headers["Location"]
        assert httpx.get(expired).status_code == 403
    with serve(root) as url:
        location = httpx.get(url + RESOLVE).headers["Location"]
        assert httpx.get(location[:-1] + ("0" if location[-1] != "0" else "1")).status_code == 403
        assert httpx.get(location.replace("a%20b", "a%20c")).status_code == 404
        assert httpx.get(f"{url}/cdn{RESOLVE}").status_code == 403


@pytest.mark.parametrize(
    ("header", "status", "start", "stop"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=2000-", 206, 2000, 2560),
        ("bytes=2000-9999", 206, 2000, 2560),
        ("bytes=-5", 206, 2555, 2560),
        ("bytes=0-1,4-5", 200, 0, 2560),
        ("lines=1-2", 200, 0, 2560),
    ],
)
def test_ranges(url, header, status, start, stop):
    answer = httpx.get(url + "/host.org/a.bin", headers={"Range": header})
    assert answer.status_code == status
    assert answer.content == CONTENT[start:stop]
    if status == 206:
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/2560"


def test_a_range_beyond_the_end(url):
    answer = httpx.get(url + "/host.org/a.bin", headers={"Range": "bytes=2560-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */2560"


def test_an_etag_changes_with_the_content(root, url):
    before = httpx.head(url + "/host.org/a.bin").headers["ETag"]
    assert httpx.head(url + "/host.org/a.bin").headers["ETag"] == before
    (root / "host.org/a.bin").write_bytes(b"other")
    assert httpx.head(url + "/host.org/a.bin").headers["ETag"] != before


@pytest.mark.parametrize(
    "path", ["/host.org/none", "/host.org", "/", "/../outside", "/host.org/%2e%2e/%2e%2e/outside"]
)
def test_what_is_not_served(url, path):
    assert httpx.get(url + path).status_code == 404


def test_it_counts(root):
    with Hub(Library(root).answer) as hub:
        httpx.get(hub.url + "/host.org/a.bin")
        httpx.head(hub.url + "/host.org/a.bin")
        assert [request.method for request in hub.requests] == ["GET", "HEAD"]
        assert hub.bytes_sent == len(CONTENT)


def test_as_a_process_of_its_own(root):
    command = [sys.executable, "-m", "entrypoint.sample.hub", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert httpx.get(url + "/host.org/a.bin").content == CONTENT
        process.terminate()

"""Catalogue files: what they may say, and what is said when they do not."""

import pytest

from entrypoint.catalog.load import load_catalog
from libmoe.config.errors import ConfigError, UsageError

HEADER = '[catalog]\nname = "mine"\ndescription = "for a test"\n'
FILE = """
[[artifact]]
name = "a"
kind = "file"
urls = ["https://h.org/a"]
licence = "free"
destination = "a.bin"
"""


def load(tmp_path, text: str):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_catalog(str(path))


def test_a_file_of_ones_own(tmp_path):
    catalog = load(tmp_path, HEADER + FILE)
    assert catalog.catalog.name == "mine"
    assert catalog.artifact("a").expected_size is None


@pytest.mark.parametrize("name", ["guide", "sample"])
def test_the_built_in_ones_load(name):
    assert load_catalog(name).catalog.name == name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("licence", "license"), "artifact 'a', key 'licence': is missing"),
        (
            ('kind = "file"', 'kind = "file"\ncolour = 1'),
            "artifact 'a', key 'colour': is not a key of a catalogue",
        ),
        (('"file"', '"tarball"'), "artifact 'a', key 'kind'"),
        (('name = "a"', 'name = "A B"'), "artifact 'A B', key 'name'"),
        (("https://h.org/a", "ftp://h.org/a"), "artifact 'a', key 'urls.0'"),
        (('["https://h.org/a"]', "[]"), "artifact 'a': give one of urls, parts and parts_listing"),
        (("a.bin", "../a.bin"), "must be a relative path without '..'"),
        (("a.bin", "/a.bin"), "must be a relative path without '..'"),
        (("a.bin", ".libmoe/a.bin"), ".libmoe/ is reserved for libmoe"),
        (("a.bin", "runs/a.bin"), "runs/ is reserved for libmoe"),
        (("a.bin", ""), "destination must name a file"),
        (('"free"', '"free"\nsize = -1'), "artifact 'a', key 'size'"),
        (('"free"', '"free"\nsize = 1\napproximate_size = 1'), "give size or approximate_size"),
        (('"free"', '"free"\nsha256 = "abc"'), "artifact 'a', key 'sha256'"),
        (('"free"', '"free"\nlayout = "flatten"'), "layout is for kind 'archive' only"),
        (('"free"', '"free"\nneeds = ["a"]'), "needs is for kind 'annotations' only"),
        (("[[artifact]]", "[stages]\nstage9 = []\n[[artifact]]"), "'stage9' is not a stage"),
        (("[[artifact]]", '[stages]\nsft = ["a"]\n[[artifact]]'), "stages.sft: unknown 'a'"),
        (("[[artifact]]", '[groups]\ng = ["b"]\n[[artifact]]'), "groups.g: unknown 'b'"),
        (("[[artifact]]", '[groups]\na = ["a"]\n[[artifact]]'), "name 'a' is given twice"),
        (("[[artifact]]", '[connections]\n"h.org" = 0\n[[artifact]]'), "key 'connections.h.org'"),
        (("[[artifact]]", "[[artifact"), "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_key(tmp_path, change, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, (HEADER + FILE).replace(*change))
    assert str(tmp_path / "mine.toml") in str(caught.value)
    assert words in str(caught.value)


def test_names_are_given_once(tmp_path):
    with pytest.raises(ConfigError, match="name 'a' is given twice"):
        load(tmp_path, HEADER + FILE + FILE)
    with pytest.raises(ConfigError, match=r"destination 'a.bin' is given twice"):
        load(tmp_path, HEADER + FILE + FILE.replace('name = "a"', 'name = "b"'))


def test_a_catalogue_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'sample'"):
        load_catalog("sampel")
    with pytest.raises(UsageError, match=r"no catalogue file .*/none.toml"):
        load_catalog(str(tmp_path / "none.toml"))

"""Whatever folders an archive has, its files land where the guide has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.prepare.unpack.layout import is_junk, targets

PIECE = st.text("abcxyz019_", min_size=1, max_size=5)
PATH = st.lists(PIECE, min_size=1, max_size=3).map("/".join)
FILES = st.lists(PATH.map(lambda path: f"{path}.jpg"), min_size=1, max_size=8, unique=True)


@pytest.mark.parametrize(
    ("destination", "inside", "expected"),
    [
        ("coco/train2017", ["train2017/1.jpg"], ["1.jpg"]),
        ("coco/train2017", ["1.jpg", "2.jpg"], ["1.jpg", "2.jpg"]),
        ("coco/train2017", ["coco/train2017/1.jpg"], ["1.jpg"]),
        ("coco/train2017", ["data/coco/train2017/1.jpg"], ["1.jpg"]),
        ("images", ["images/00453/1.jpg", "images/00116/2.jpg"], ["00453/1.jpg", "00116/2.jpg"]),
        ("images", ["00453/1.jpg", "00116/2.jpg"], ["00453/1.jpg", "00116/2.jpg"]),
        ("images", ["00453/1.jpg"], ["00453/1.jpg"]),
        ("textvqa/train_images", ["train_images/1.jpg", "licence.txt"], ["1.jpg", "licence.txt"]),
        ("vg/VG_100K", ["VG_100K_2/1.jpg"], ["VG_100K_2/1.jpg"]),
        ("image_onevision", ["image_onevision/a/1.png", "image_onevision/b/2.png"], ["a/1.png", "b/2.png"]),
    ],
)
def test_the_archives_there_are(destination, inside, expected):
    assert targets(inside, destination, "tree") == expected


@given(files=FILES, above=st.lists(PIECE, max_size=3), end=st.lists(PIECE, min_size=1, max_size=3))
def test_however_much_of_the_destination_is_repeated(files, above, end):
    """The same files, packed with any end of the destination above them, land in the same places."""
    destination = "/".join(["D0", *[f"D{piece}" for piece in end]])
    for start in range(len(end) + 1):
        tail = "/".join(destination.split("/")[start:])
        before = "".join(f"U{piece}/" for piece in above)
        assert targets([f"{before}{tail}/{name}" for name in files], destination, "tree") == files
    assert targets(files, destination, "tree") == files


@given(files=FILES, destination=PATH)
def test_no_file_is_lost_and_none_leaves(files, destination):
    placed = targets(files, destination, "tree")
    assert len(placed) == len(files)
    for name, target in zip(files, placed, strict=True):
        assert target
        assert name.endswith(target)
        assert not target.startswith("/")


@given(files=FILES, destination=PATH)
def test_flattened_files_keep_their_names_alone(files, destination):
    assert targets(files, destination, "flatten") == [name.rpartition("/")[2] for name in files]


def test_what_a_desktop_adds_is_no_member():
    assert [name for name in ("__MACOSX/._1.jpg", "a/.DS_Store", "a/1.jpg") if not is_junk(name)] == [
        "a/1.jpg"
    ]

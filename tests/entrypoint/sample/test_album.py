import re

from PIL import Image

from entrypoint.sample import CAPTION_PROMPT, PHOTOS
from entrypoint.sample.album import ALBUM, PHOTOS_DIR


def test_there_are_24_photographs_and_no_other_file():
    assert len(PHOTOS) == 24
    assert {photo.path.name for photo in PHOTOS} == {file.name for file in PHOTOS_DIR.glob("*.jpg")}


def test_photographs_are_small_rgb_jpegs_without_metadata():
    shapes = set()
    for photo in PHOTOS:
        with Image.open(photo.path) as image:
            image.load()
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert max(image.size) == 320
            assert not image.getexif()
            assert "icc_profile" not in image.info
            shapes.add(image.width > image.height)
    assert shapes == {True, False}, "padding needs wide and tall photographs"
    assert sum(photo.path.stat().st_size for photo in PHOTOS) < 1_000_000


def test_sources_name_author_licence_and_package_of_every_photograph():
    table = (PHOTOS_DIR / "SOURCES.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| (\S.*?) \|.*\|.*\|$", table.split("| file |")[0], re.M)) - {"short name"}
    rows = [
        line.strip("| ").split(" | ") for line in table.splitlines() if re.match(r"\| [a-z-]+\.jpg ", line)
    ]
    assert [row[0] for row in rows] == sorted(photo.path.name for photo in PHOTOS)
    for _, shows, author, licence, source in rows:
        assert shows
        assert author
        assert licence.split(" (")[0] in known
        assert re.match(r"(scikit-image|scikit-learn|matplotlib|Debian) .*: `.+\.(jpg|png)`$", source)


def test_captions_are_short_and_no_two_are_alike():
    captions = [photo.caption for photo in PHOTOS]
    assert len(set(captions)) == len(PHOTOS)
    assert all(8 <= len(caption.split()) <= 14 for caption in captions)
    assert all(re.fullmatch(r"[A-Z][A-Za-z, ]+\.", caption) for caption in captions)


def test_every_photograph_has_details_and_a_conversation_and_some_have_two_turns():
    for photo in PHOTOS:
        assert len(photo.detail) > len(photo.caption)
        assert all(turn.ask.endswith("?") and turn.answer.endswith(".") for turn in photo.turns)
    assert {len(photo.turns) for photo in PHOTOS} == {1, 2}


def test_sentences_hold_every_text():
    sentences = set(ALBUM.sentences())
    assert CAPTION_PROMPT in sentences
    assert {photo.caption for photo in PHOTOS} <= sentences
    assert {turn.answer for photo in PHOTOS for turn in photo.turns} <= sentences
    assert {turn.ask for chat in ALBUM.chats for turn in chat} <= sentences

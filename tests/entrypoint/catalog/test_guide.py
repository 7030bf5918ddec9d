"""The guide's catalogue against the guide's layout."""

import pytest

from entrypoint.catalog.load import load_catalog
from entrypoint.catalog.selection import select


@pytest.fixture(scope="module")
def guide():
    return load_catalog()


def test_stage_1_is_whole(guide):
    chosen = {artifact.name: artifact for artifact in select(guide, ["pretrain"]).artifacts}
    rows, images = chosen["llava-558k"], chosen["llava-558k-images"]
    assert rows.urls[0].endswith("/blip_laion_cc_sbu_558k.json")
    assert rows.destination == "jsons/blip_laion_cc_sbu_558k.json"
    assert (rows.image_root, images.destination) == ("images", "images")
    assert "/liuhaotian/LLaVA-Pretrain/resolve/70f9d1e" in images.urls[0]
    places = {artifact.destination for artifact in chosen.values() if artifact.kind == "file"}
    for model in ("microsoft/Phi-3.5-mini-instruct", "google/siglip-so400m-patch14-224"):
        assert f"models/{model}/config.json" in places
        assert any(place.startswith(f"models/{model}/model") for place in places)


@pytest.mark.parametrize(
    ("name", "destination"),
    [
        ("coco-train2017", "coco"),
        ("gqa-images", "gqa"),
        ("textvqa-images", "textvqa"),
        ("vg-100k", "vg"),
        ("vg-100k-2", "vg"),
        ("ocr-vqa-images", "ocr_vqa/images"),
    ],
)
def test_stage_3_images_land_where_the_guide_has_them(guide, name, destination):
    assert name in {artifact.name for artifact in select(guide, ["sft"]).artifacts}
    assert guide.artifact(name).destination == destination
    assert guide.artifact(name).sha256


def test_a_pinned_url_and_its_revision_agree(guide):
    for artifact in guide.artifacts:
        for url in artifact.urls:
            if artifact.revision:
                assert f"/resolve/{artifact.revision}/" in url


def test_nothing_is_asked_with_a_query(guide):
    assert not [url for artifact in guide.artifacts for url in artifact.urls if "?" in url]

"""The guide's catalogue against the guide's layout."""

import re

import pytest

from entrypoint.catalog.load import load_catalog
from entrypoint.catalog.selection import select
from libmoe.config.layers import presets, resolve
from libmoe.config.stages import STAGES


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
        ("coco-train2017", "coco/train2017"),
        ("gqa-images", "gqa/images"),
        ("textvqa-images", "textvqa/train_images"),
        ("vg-100k", "vg/VG_100K"),
        ("vg-100k-2", "vg/VG_100K_2"),
        ("ocr-vqa-images", "ocr_vqa/images"),
    ],
)
def test_stage_3_images_land_where_the_guide_has_them(guide, name, destination):
    assert name in {artifact.name for artifact in select(guide, ["sft"]).artifacts}
    assert guide.artifact(name).destination == destination
    assert guide.artifact(name).sha256


def folders(selection):
    places = (a.destination.split("/") for a in selection.artifacts if a.destination.startswith("models/"))
    return {"/".join(place[1:3]) for place in places}


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("stage", STAGES)
def test_every_preset_finds_what_it_starts_from(guide, preset, stage):
    """In the built-in catalogue that has its data."""
    catalog = load_catalog("sample") if preset == "tiny" else guide
    model = resolve(stage, preset, []).config.model
    wanted = {model.tokenizer, model.vision.weights, model.language.weights} - {None}
    assert folders(select(catalog, [stage], preset=preset)) == wanted


def test_the_guides_own_preset_is_the_default(guide):
    assert select(guide, ["sft"]).artifacts == select(guide, ["sft"], preset="phi35-siglip224").artifacts


def test_a_pinned_url_and_its_revision_agree(guide):
    for artifact in guide.artifacts:
        for url in artifact.urls:
            if artifact.revision:
                assert f"/resolve/{artifact.revision}/" in url


def test_a_file_of_the_hub_is_asked_without_a_query(guide):
    urls = [url for artifact in guide.artifacts for url in artifact.urls if "huggingface.co" in url]
    assert urls
    assert not [url for url in urls if "?" in url]


def test_the_hubs_revisions_are_whole_commits_or_known_to_be_unknown(guide):
    loose = {a.name for a in guide.artifacts if not a.revision and "huggingface.co" in "".join(a.urls)}
    models = {*guide.groups["smollm2-1.7b"], *guide.groups["clip-vit-large-336"]}
    assert loose == {"llava-332k", "llava-665k", "onevision-1m2", *models}
    assert all(re.fullmatch("[0-9a-f]{40}", a.revision) for a in guide.artifacts if a.revision)


def test_every_set_of_the_guide_is_there(guide):
    assert guide.stages == {
        "pretrain": ("llava-558k",),
        "pft": ("cumo-pft-allava", "allava-caption-laion", "allava-caption-vflan"),
        "sft": ("llava-332k", "llava-665k", "onevision-1m2"),
    }


def test_one_set_takes_its_own_images_and_no_others(guide):
    names = {artifact.name for artifact in select(guide, ["sft"], ["llava-332k"]).artifacts}
    assert {
        "coco-train2017",
        "gqa-images",
        "ocr-vqa-images",
        "textvqa-images",
        "vg-100k",
        "vg-100k-2",
    } < names
    assert not {"image-onevision", "llava-665k", "ocr-vqa-covers", "llava-558k-images"} & names


def test_ocr_vqa_can_come_the_guides_own_way(guide):
    names = {a.name for a in select(guide, ["sft"], ["llava-332k"], ["ocr-vqa-covers"]).artifacts}
    assert "ocr-vqa-covers" in names
    assert "ocr-vqa-images" not in names

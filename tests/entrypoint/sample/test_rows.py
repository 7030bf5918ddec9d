import itertools

import pytest

from entrypoint.sample import CAPTION_PROMPT, PHOTOS
from entrypoint.sample.rows import SFT_NAMES, pft_rows, pretrain_rows, sft_image, sft_rows

STAGES = {"pretrain": pretrain_rows, "pft": pft_rows, "sft": sft_rows}


@pytest.fixture(params=STAGES, name="stage_rows")
def _stage_rows(request):
    return STAGES[request.param]()


def test_rows_are_llava_conversations(stage_rows):
    for row in stage_rows:
        assert isinstance(row["id"], str)
        speakers = [turn["from"] for turn in row["conversations"]]
        assert speakers == ["human", "gpt"] * (len(speakers) // 2)
        assert speakers
        assert all(turn["value"].strip() == turn["value"] != "" for turn in row["conversations"])


def test_a_row_has_one_image_token_in_its_first_prompt_if_it_has_an_image(stage_rows):
    for row in stage_rows:
        tokens = [turn["value"].count("<image>") for turn in row["conversations"]]
        assert tokens[0] == int("image" in row)
        assert sum(tokens[1:]) == 0


def test_every_photograph_is_captioned_in_stage_1_and_told_in_detail_in_stage_2():
    assert [row["conversations"][1]["value"] for row in pretrain_rows()] == [p.caption for p in PHOTOS]
    assert [row["conversations"][1]["value"] for row in pft_rows()] == [p.detail for p in PHOTOS]


@pytest.mark.parametrize("rows", [pretrain_rows(), pft_rows()], ids=["pretrain", "pft"])
def test_prompts_vary_and_the_image_stands_before_or_after_them(rows):
    prompts = [row["conversations"][0]["value"] for row in rows]
    assert len({prompt.replace("<image>", "").strip() for prompt in prompts}) >= 3
    assert {prompt.startswith("<image>\n") for prompt in prompts} == {True, False}
    assert all(prompt.startswith("<image>\n") or prompt.endswith("\n<image>") for prompt in prompts)


def test_stage_3_asks_each_photograph_for_its_caption_once_and_for_its_questions_once():
    rows = {key: list(group) for key, group in itertools.groupby(sft_rows(), lambda row: row.get("image"))}
    for photo in PHOTOS:
        caption, questions = rows[sft_image(photo)]
        assert caption["conversations"] == [
            {"from": "human", "value": f"<image>\n{CAPTION_PROMPT}"},
            {"from": "gpt", "value": photo.caption},
        ]
        assert [turn["value"] for turn in questions["conversations"][1::2]] == [t.answer for t in photo.turns]
    assert len(rows[None]) == 3


def test_stage_3_uses_every_folder_of_the_mixture():
    assert {photo.folder for photo in PHOTOS} == set(SFT_NAMES)

"""Images to pixels, text to tokens."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

import entrypoint.sample
from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec
from libmoe.model.build import build_model, model_config
from libmoe.model.chat import taking_images
from libmoe.model.processor import build_processor, stop_token_ids

MakeSpec = Callable[..., RunSpec]


def test_one_token_stands_for_each_cell_of_the_grid(make_spec: MakeSpec, photograph: Image.Image) -> None:
    spec = make_spec("sft")
    processor = build_processor(spec.config, spec.models_dir)
    inputs = processor(images=[photograph] * 2, text=["<image>\nWhat?"] * 2, return_tensors="pt")
    config = model_config(spec.config, processor.image_token_id)
    assert inputs.pixel_values.shape == (2, 3, 168, 168)
    assert config.pixels == 168
    counted = (inputs.input_ids == config.image_token_id).sum(1)
    assert counted.tolist() == [16, 16]
    assert config.image_seq_length == 16


def test_shapes_of_images(make_spec: MakeSpec, photograph: Image.Image) -> None:
    def pixels(shape: str) -> torch.Tensor:
        spec = make_spec("sft", {"data": {"image_shape": shape}})
        processor = build_processor(spec.config, spec.models_dir)
        return processor.image_processor(photograph, return_tensors="pt").pixel_values[0]

    padded, square = pixels("pad"), pixels("square")
    assert padded.shape == square.shape == (3, 168, 168)
    assert (padded[:, :22].abs() < 0.01).all()  # 60 x 40 leaves a sixth above and below, in the mean colour
    assert (square[:, 0].abs() > 0.5).any()
    assert padded.min() >= -1
    assert padded.max() <= 1


def test_saved_with_a_model_it_comes_back(
    make_spec: MakeSpec, photograph: Image.Image, tmp_path: Path
) -> None:
    spec = make_spec("sft")
    processor = build_processor(spec.config, spec.models_dir)
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    before, after = (
        p(images=photograph, text="<image>\nWhat?", return_tensors="pt") for p in (processor, again)
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.tokenizer.chat_template == processor.tokenizer.chat_template


def test_messages_may_hold_images_as_transformers_has_them(
    make_spec: MakeSpec, photograph: Image.Image, tmp_path: Path
) -> None:
    spec = make_spec("sft")
    build_processor(spec.config, spec.models_dir).save_pretrained(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    content = [{"type": "image", "image": photograph}, {"type": "text", "text": "What?"}]
    listed = [{"role": "user", "content": content}, {"role": "assistant", "content": "A slope."}]
    plain = [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A slope."}]
    rendered = processor.apply_chat_template(listed)
    assert rendered == processor.apply_chat_template(plain)
    own = Path(entrypoint.sample.__file__).parent / "tokenizer"
    assert rendered == AutoTokenizer.from_pretrained(own).apply_chat_template(plain, tokenize=False)
    inputs = processor.apply_chat_template(listed, tokenize=True, return_dict=True, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 168, 168)
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 16


@pytest.mark.parametrize("length", [1, 3])
def test_templates_that_look_at_all_messages_render_as_they_did(make_spec: MakeSpec, length: int) -> None:
    """As Llama's, which rebinds them, and Qwen's, which counts them."""
    spec = make_spec("sft")
    tokenizer = build_processor(spec.config, spec.models_dir).tokenizer
    template = (
        "{%- macro line(m) -%}{{ m.content | trim }} of {{ messages | length }}\n{% endmacro -%}"
        "{%- if messages[0]['role'] == 'user' -%}{%- set messages = messages[::-1] -%}{%- endif -%}"
        "{%- for m in messages -%}{{ line(m) }}{%- endfor -%}{{ eos_token }}"
    )
    messages = [{"role": "user", "content": f" {n}"} for n in range(length)]
    expected = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
    tokenizer.chat_template = taking_images(taking_images(template))
    assert tokenizer.apply_chat_template(messages, tokenize=False) == expected


def test_answers_stop_at_the_templates_own_mark(make_spec: MakeSpec) -> None:
    spec = make_spec("sft")
    tokenizer = build_processor(spec.config, spec.models_dir).tokenizer
    expected = {"<|end|>", "<|endoftext|>"}
    assert set(tokenizer.convert_ids_to_tokens(stop_token_ids(tokenizer))) == expected
    for without in (None, "<|user|>{{ messages[0].content }}"):  # the latter leaves the answer out
        tokenizer.chat_template = without
        assert stop_token_ids(tokenizer) == [tokenizer.eos_token_id]


def test_answers_in_chatml_stop_at_its_mark(make_spec: MakeSpec) -> None:
    """As SmolLM2 and Qwen speak, whose end of turn may be the end of text as well."""
    spec = make_spec("sft")
    tokenizer = build_processor(spec.config, spec.models_dir).tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    )
    expected = {"<|im_end|>", "<|endoftext|>"}
    assert set(tokenizer.convert_ids_to_tokens(stop_token_ids(tokenizer))) == expected
    tokenizer.eos_token = "<|im_end|>"
    assert tokenizer.convert_ids_to_tokens(stop_token_ids(tokenizer)) == ["<|im_end|>"]


def test_missing_tokenizer_is_told(make_spec: MakeSpec) -> None:
    spec = make_spec("sft", {"model": {"tokenizer": "libmoe/absent"}})
    with pytest.raises(ConfigError, match=r"no tokenizer in .*libmoe/absent"):
        build_processor(spec.config, spec.models_dir)


@pytest.mark.parametrize("tokens", [None, "{}", "{"])
def test_unreadable_tokenizer_is_told(make_spec: MakeSpec, tmp_path: Path, tokens: str | None) -> None:
    folder = tmp_path / "models" / "libmoe" / "tiny"
    folder.mkdir(parents=True)
    (folder / "tokenizer_config.json").write_text("{}")
    if tokens:
        (folder / "tokenizer.json").write_text(tokens)
    with pytest.raises(ConfigError, match="cannot be read"):
        build_processor(make_spec("sft").config, tmp_path / "models")


def test_a_tokenizer_of_another_model_is_told(make_spec: MakeSpec) -> None:
    spec = make_spec("sft", {"model": {"language": {"config": {"vocab_size": 1000}}}})
    with pytest.raises(ConfigError, match="has 1013 tokens, the model 1000 embeddings"):
        build_model(spec)


def test_pixels_are_what_the_tower_was_trained_on(make_spec: MakeSpec, photograph: Image.Image) -> None:
    colours = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 0.125]}
    spec = make_spec("sft", {"model": colours, "data": {"image_shape": "square"}})
    plain = make_spec("sft", {"data": {"image_shape": "square"}})
    one, other = (
        build_processor(s.config, s.models_dir).image_processor(photograph, return_tensors="pt").pixel_values
        for s in (spec, plain)
    )
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in colours.values())
    torch.testing.assert_close(one, (other * 0.5 + 0.5 - mean) / std, atol=1e-4, rtol=1e-4)

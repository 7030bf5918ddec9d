"""``python -m libmoe.generate`` on a saved tiny model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import entrypoint.sample
from libmoe.captioner import Captioner, _decode
from libmoe.config.errors import DataError, UsageError
from libmoe.config.layers import resolve
from libmoe.config.schema import RunConfig
from libmoe.data.image import load_image
from libmoe.data.pixels import Pixels
from libmoe.generate import main
from libmoe.model.build import model_config
from libmoe.model.modeling import LibmoeForConditionalGeneration
from libmoe.model.processor import build_processor

SAMPLE = Path(entrypoint.sample.__file__).parent
PHOTOGRAPHS = sorted((SAMPLE / "photos").glob("*.jpg"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return resolve("sft", "tiny", []).config


@pytest.fixture(scope="module")
def checkpoint(run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved mixture with random weights."""
    root = tmp_path_factory.mktemp("generate")
    models = root / "models"
    (models / "libmoe").mkdir(parents=True)
    (models / "libmoe" / "tiny").symlink_to(SAMPLE / "tokenizer")
    processor = build_processor(run, models)
    torch.manual_seed(0)
    model = LibmoeForConditionalGeneration(model_config(run, processor.image_token_id))
    model.save_pretrained(root / "model")
    processor.save_pretrained(root / "model")
    return root / "model"


@pytest.fixture(scope="module")
def captioner(checkpoint: Path) -> Captioner:
    return Captioner(checkpoint)


def failure(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return code, captured.err


def test_text_alone_reaches_stdout(checkpoint: Path) -> None:
    command = [sys.executable, "-m", "libmoe.generate", "--checkpoint", checkpoint, "--image", PHOTOGRAPHS[0]]
    done = subprocess.run(
        [*command, "--prompt", "What is this?", "--max-new-tokens", "5", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    result = json.loads(done.stdout)
    assert result["prompt"] == "What is this?"
    assert result["images"] == [str(PHOTOGRAPHS[0])]
    assert result["text"]


def test_plain_output_is_the_captioners_text(
    checkpoint: Path, captioner: Captioner, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--image", str(PHOTOGRAPHS[0]), "--prompt", "What is this?"]
    assert main([*arguments, "--max-new-tokens", "6"]) == 0
    expected = captioner.generate([PHOTOGRAPHS[0]], "What is this?", max_new_tokens=6)
    assert capsys.readouterr().out == expected + "\n"


def test_images_matter_in_any_number(captioner: Captioner) -> None:
    with Image.open(PHOTOGRAPHS[0]) as image:
        loaded = image.convert("RGB")
    from_file = captioner.generate([PHOTOGRAPHS[0]], "What?", max_new_tokens=8)
    assert captioner.generate([loaded], "What?", max_new_tokens=8) == from_file
    assert captioner.generate([], "What?", max_new_tokens=8)
    assert captioner.generate(PHOTOGRAPHS[:3], "What?", max_new_tokens=8)


def test_tokens_are_the_processors(captioner: Captioner) -> None:
    pictures = [load_image(path, "") for path in PHOTOGRAPHS[:2]]
    for seen in (pictures, []):
        expected = captioner.processor(images=seen or None, text=captioner._chat(len(seen), "What?"))
        assert captioner._inputs(seen, "What?")["input_ids"].tolist() == expected["input_ids"]


def test_pixels_are_those_of_training(captioner: Captioner) -> None:
    seen = captioner._inputs(PHOTOGRAPHS[:2], "What?")["pixel_values"]
    pixels = Pixels.of(captioner.processor.image_processor)
    trained_on = torch.stack([pixels.to_bytes(load_image(path, "")) for path in PHOTOGRAPHS[:2]])
    assert torch.equal(seen, pixels.to_colours(trained_on))


def test_an_upright_photograph_is_seen_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me clockwise"
    Image.new("RGB", (30, 20)).save(tmp_path / "lying.jpg", exif=exif)
    assert _decode(tmp_path / "lying.jpg").size == (20, 30)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_empty_prompt(captioner: Captioner, prompt: str) -> None:
    with pytest.raises(UsageError, match="prompt is empty"):
        captioner.generate([], prompt)


def test_prompt_with_an_image_token(captioner: Captioner) -> None:
    with pytest.raises(UsageError, match="leave it out"):
        captioner.generate([PHOTOGRAPHS[0]], "<image> What?")


def test_missing_and_broken_images(captioner: Captioner, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image .*absent\.jpg"):
        captioner.generate([tmp_path / "absent.jpg"], "What?")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.jpg cannot be decoded"):
        captioner.generate([tmp_path / "text.jpg"], "What?")
    (tmp_path / "short.jpg").write_bytes(PHOTOGRAPHS[0].read_bytes()[:2000])
    with pytest.raises(DataError, match=r"short\.jpg cannot be decoded"):
        captioner.generate([tmp_path / "short.jpg"], "What?")


@pytest.mark.parametrize("absent", ["checkpoint", "image"])
def test_what_is_not_there_is_said_before_torch_is_imported(absent: str, checkpoint: Path) -> None:
    given = {"checkpoint": checkpoint, "image": PHOTOGRAPHS[0], absent: Path("absent")}
    arguments = [f"--{name}={path}" for name, path in given.items()]
    program = "import sys; from libmoe.generate import main; sys.exit(main() + ('torch' in sys.modules))"
    command = [sys.executable, "-c", program, *arguments, "--prompt", "What is this?"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == {"checkpoint": 78, "image": 65}[absent], done.stderr
    assert f"There is no {absent}" in done.stderr


def test_no_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, message = failure(capsys, "--checkpoint", tmp_path / "absent", "--prompt", "What?")
    assert code == 78
    assert "There is no checkpoint in" in message


@pytest.mark.parametrize(
    "content", ['{"model_type": "llama"}', '{"model_type": "libmoe_llava", "scales": []}', "{", "[1]"]
)
def test_not_our_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    code, message = failure(capsys, "--checkpoint", tmp_path, "--prompt", "What?")
    assert code == 78
    assert "give a folder that libmoe saved" in message


def test_checkpoint_without_processor(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(checkpoint / name)
    code, message = failure(capsys, "--checkpoint", tmp_path, "--prompt", "What?")
    assert code == 78
    assert "no readable processor" in message


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("tokenizer.json", "{}", "no readable processor"),
        ("processor_config.json", '{"image_processor": 3}', "no readable processor"),
        ("chat_template.jinja", "{% for", "renders no conversation"),
        ("chat_template.jinja", None, "has no chat template"),
    ],
)
def test_damage_beside_the_weights(
    capsys: pytest.CaptureFixture[str],
    checkpoint: Path,
    tmp_path: Path,
    file: str,
    content: str | None,
    told: str,
) -> None:
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    code, message = failure(capsys, "--checkpoint", tmp_path, "--prompt", "What?")
    assert code == 78
    assert told in message


def test_mis_shaped_checkpoint(capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path) -> None:
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    values = json.loads((checkpoint / "config.json").read_text())
    values["text_config"]["intermediate_size"] = 200
    (tmp_path / "config.json").write_text(json.dumps(values))
    code, message = failure(capsys, "--checkpoint", tmp_path, "--prompt", "What?")
    assert code == 78
    assert "(512, 128)" in message
    assert "(400, 128)" in message


def test_no_tokens_asked_for(capsys: pytest.CaptureFixture[str], checkpoint: Path) -> None:
    code, _ = failure(capsys, "--checkpoint", checkpoint, "--prompt", "What?", "--max-new-tokens", "0")
    assert code == 2


def test_many_requests_from_a_file(
    checkpoint: Path, captioner: Captioner, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = [([str(PHOTOGRAPHS[0])], "What?"), ([], "Who?"), ([str(p) for p in PHOTOGRAPHS[1:3]], "Where?")]
    lines = [json.dumps({"images": images, "prompt": prompt}) for images, prompt in asked]
    (tmp_path / "asked.jsonl").write_text("\n".join(lines) + "\n")
    arguments = ["--checkpoint", str(checkpoint), "--requests", str(tmp_path / "asked.jsonl"), "--json"]
    assert main([*arguments, "--max-new-tokens", "4"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(answer["images"], answer["prompt"]) for answer in answers] == asked
    expected = [captioner.generate([Path(i) for i in images], prompt, 4) for images, prompt in asked]
    assert [answer["text"] for answer in answers] == expected


@pytest.mark.parametrize("line", ["{", "[]", '{"prompt": "What?"}', '{"images": 3, "prompt": "What?"}'])
def test_bad_requests(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path, line: str
) -> None:
    (tmp_path / "asked.jsonl").write_text(line)
    code, message = failure(capsys, "--checkpoint", checkpoint, "--requests", tmp_path / "asked.jsonl")
    assert code == 65
    assert "line 1 is no request" in message

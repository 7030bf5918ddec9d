"""The contract of the command line: exit codes, one-sentence errors, names of variables."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from libmoe.config import layers


def libmoe(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from entrypoint.cli import main; main()", *args]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["trian"], 2, "did you mean 'train'?"),
        (["train", "--stage", "1", "--presett", "tiny"], 2, "--preset"),
        (["train"], 2, "Missing option '--stage': pretrain, pft, sft, or 1, 2, 3, or all."),
        (["config", "shw"], 2, "Did you mean 'show'?"),
        (["report", "one", "two"], 2, "unexpected extra argument (two)."),
        (["config", "show", "--stage", "pretrian"], 2, "did you mean 'pretrain'?"),
        (["config", "show", "--stage", "1", "--preset", "tinny"], 78, "did you mean 'tiny'?"),
        (["config", "show", "--stage", "1", "--set", "train.lr=1"], 78, "Unknown setting 'train.lr'"),
        (["config", "show", "--stage", "1", "--set", "seed"], 78, "--set wants key=value"),
        (["config", "show", "--stage", "1", "--set", "train.epochs=0"], 78, "greater than 0"),
        (["config", "show", "--stage", "3", "--set", "moe.top_k=9"], 78, "there are only 6 experts"),
        (
            ["config", "show", "--stage", "1", "--config", "/nowhere.toml"],
            78,
            "Cannot read the settings",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_its_exit_code(args: list[str], code: int, words: str) -> None:
    done = libmoe(*args)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.startswith("libmoe: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in libmoe("--debug", "config", "show", "--stage", "9").stderr


def test_settings_say_where_they_came_from(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("seed = 7\n[train]\nepochs = 3\nlearning_rate = 5e-5\n")
    args = ["config", "show", "--stage", "3", "--preset", "tiny", "--json", "--config", str(file)]
    shown = json.loads(libmoe(*args, "--set", "train.epochs=4").stdout)
    assert shown["train.epochs"] == {"value": 4, "from": "--set train.epochs"}
    assert shown["train.learning_rate"] == {"value": 5e-5, "from": f"file {file}"}
    assert shown["train.zero.stage"] == {"value": 3, "from": "recipe sft"}
    assert shown["model.tokenizer"] == {"value": "libmoe/tiny", "from": "preset tiny"}
    assert shown["moe.experts"] == {"value": 6, "from": "default"}


def test_the_settings_of_all_stages_are_one_object() -> None:
    args = ["config", "show", "--preset", "tiny", "--json", "--stage"]
    shown = json.loads(libmoe(*args, "all").stdout)
    assert list(shown) == ["pretrain", "pft", "sft"]
    assert shown["sft"] == json.loads(libmoe(*args, "3").stdout)


def test_a_value_that_a_variable_gave_says_so() -> None:
    given = {"STAGE": "1", "PRESET": "tiny", "MOE": "xmoe", "MAX_STEPS": "7", "SET": "seed=3 train.epochs=2"}
    variables = {f"LIBMOE_CONFIG_SHOW_{option}": value for option, value in given.items()}
    shown = json.loads(libmoe("config", "show", "--json", **variables).stdout)
    keys = ("stage", "preset", "moe.name", "train.max_steps", "seed", "train.epochs")
    assert {key: shown[key] for key in keys} == {
        "stage": {"value": "pretrain", "from": "LIBMOE_CONFIG_SHOW_STAGE"},
        "preset": {"value": "tiny", "from": "LIBMOE_CONFIG_SHOW_PRESET"},
        "moe.name": {"value": "xmoe", "from": "LIBMOE_CONFIG_SHOW_MOE"},
        "train.max_steps": {"value": 7, "from": "LIBMOE_CONFIG_SHOW_MAX_STEPS"},
        "seed": {"value": 3, "from": "LIBMOE_CONFIG_SHOW_SET seed"},
        "train.epochs": {"value": 2, "from": "LIBMOE_CONFIG_SHOW_SET train.epochs"},
    }


def test_a_flag_is_named_where_the_variable_says_otherwise() -> None:
    args = ["config", "show", "--stage", "1", "--moe", "xmoe", "--max-steps", "7", "--json"]
    shown = json.loads(libmoe(*args, LIBMOE_CONFIG_SHOW_MOE="smoe").stdout)
    assert shown["moe.name"] == {"value": "xmoe", "from": "--moe"}
    assert shown["train.max_steps"] == {"value": 7, "from": "--max-steps"}
    assert shown["preset"] == {"value": "phi35-siglip224", "from": "default"}


def test_a_settings_file_that_is_not_toml(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("seed: 7")
    done = libmoe("config", "show", "--stage", "3", "--config", str(file))
    assert done.returncode == 78
    assert "not valid TOML" in done.stderr


@pytest.mark.parametrize("args", [[], ["config"]])
def test_without_a_command_there_is_help(args: list[str]) -> None:
    done = libmoe(*args)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: libmoe")


def test_help_names_every_preset() -> None:
    presets = Path(layers.__file__).parent.joinpath("presets").glob("*.toml")
    shown = re.sub(r"\s", "", libmoe("train", "--help").stdout)
    assert [one.stem for one in presets if one.stem not in shown] == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [("libmoe tr", ["train"]), ("libmoe train --res", ["--resume"]), ("libmoe config s", ["schema", "show"])],
)
def test_a_shell_can_complete(words: str, offered: list[str]) -> None:
    place = str(len(words.split()) - 1)
    done = libmoe(COMP_WORDS=words, COMP_CWORD=place, _LIBMOE_COMPLETE="bash_complete")
    assert [line.partition(",")[2] for line in done.stdout.split()] == offered

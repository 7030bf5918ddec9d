"""What the pages tell their readers to type exists: commands, options, settings, targets, links, codes."""

import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from entrypoint.catalog.load import load_catalog
from entrypoint.catalog.selection import select
from entrypoint.cli import libmoe
from entrypoint.prepare.plan import make_plan
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.settings import RunSettings
from entrypoint.volume import Volume
from libmoe.config import errors
from libmoe.config.counting import anatomy, count_memory
from libmoe.config.errors import ConfigError
from libmoe.config.layers import resolve
from libmoe.config.stages import parse_stages

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "compose").rglob("*.md"))]
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SHELL = ("", "sh", "shell", "bash")
ENDS = frozenset(("&&", "||", "|", ";", ">", "#"))


def blocks(text: str) -> Iterator[str]:
    """Lines of the fenced blocks that a shell reads, those that go on in the next one joined."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language in SHELL:
            yield from re.sub(r"\\\n\s*", "", block).splitlines()


def invocations(line: str, program: str) -> Iterator[list[str]]:
    """The words after each ``program`` in a line of shell, also in what is handed on as one word."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # prose in a block: an apostrophe
        return
    for place, word in enumerate(words):
        if word == program and (place == 0 or words[place - 1] not in ("namespace", "--namespace")):
            rest = words[place + 1 :]
            end = next((at for at, one in enumerate(rest) if one in ENDS), len(rest))
            yield rest[:end]
        elif word.startswith(f"{program} "):
            yield from invocations(word, program)


def complaint(words: list[str]) -> str | None:
    """Why ``libmoe WORDS`` would be refused before it looks at any file; None if it would not."""
    command: click.Command = libmoe
    context = click.Context(libmoe)
    rest = [re.sub(r"^\$\w+", "1", word) for word in words]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        inner = command.get_command(context, rest[0])
        if inner is None:
            return f"{rest[0]} is no command"
        command, rest = inner, rest[1:]
    if isinstance(command, click.Group):
        return None
    try:
        given = command.make_context("libmoe", rest).params
    except click.UsageError as error:
        return error.format_message()
    return _wrong_setting(given) if "assignments" in given else None


def _wrong_setting(given: dict[str, object]) -> str | None:
    assignments = given["assignments"]
    if any(one.startswith("moe.plugin=") for one in assignments):
        return None
    settings = RunSettings(given["preset"], None, assignments, given["moe"], given["max_steps"])
    try:
        for stage in parse_stages(given["stage"]):
            settings.resolve(stage)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_would_start(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LIBMOE_")]:
        monkeypatch.delenv(name)
    lines = list(blocks(page.read_text()))
    typed = [words for line in lines for words in invocations(line, "libmoe")]
    refused = {shlex.join(words): complaint(words) for words in typed}
    assert {line: why for line, why in refused.items() if why} == {}
    made = [word for line in lines for words in invocations(line, "make") for word in words]
    assert [one for one in made if re.fullmatch(r"[a-z0-9-]+", one) and one not in TARGETS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_in_a_sentence_exists(page: Path) -> None:
    for words in re.findall(r"(?<!there is no )`libmoe ([^`\n]+)`", page.read_text()):
        path = re.match(r"[a-z]+", words)
        if path is None:
            continue
        command = libmoe.get_command(click.Context(libmoe), path[0])
        assert command, words
        inner = getattr(command, "commands", {}).values()
        known = {option for one in (command, *inner) for parameter in one.params for option in parameter.opts}
        assert [one for one in re.findall(r"--[a-z-]+", words) if one not in known] == [], words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = page.read_text()
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    gone = [one for one in targets if "://" not in one and not (page.parent / one).exists()]
    assert gone == []


def test_every_exit_code_is_explained() -> None:
    codes = {
        one.exit_code
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.LibmoeError)
    }
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGES[0].read_text(), re.MULTILINE)}
    killed = 128 + signal.SIGKILL
    assert explained == codes | {0, killed}


def needs(stage: str, only: tuple[str, ...], tokens: int, volume: Volume) -> list[str]:
    """A stage's cells of the table in the README: what `prepare --dry-run` and `train --dry-run` say."""
    catalog = load_catalog("guide")
    plan = make_plan(select(catalog, [stage], only).artifacts, volume, Addresses())
    run = resolve(stage, "phi35-siglip224", []).config
    model = anatomy(run.model, run.moe)
    ranks = [count_memory(model, run, ranks=ranks, tokens=tokens) for ranks in (1, 4, 8)]
    gpu, host = (
        [round(part / 2**30) for part in parts]
        for parts in zip(*((one.device, one.host) for one in ranks), strict=True)
    )
    sizes = [f"{round(size / 2**30)} GiB" for size in (plan.to_fetch, plan.peak_bytes)]
    return [
        *sizes,
        f"{' / '.join(map(str, gpu))} GiB",
        f"{' / '.join(map(str, host))} GiB" if any(host) else "",
    ]


def test_the_table_of_needs_is_what_a_dry_run_counts(tmp_path: Path) -> None:
    rows = re.findall(r"^\| ([123]) (\w+).*?\| (.*) \|$", PAGES[0].read_text(), re.MULTILINE)
    told = {stage: [cell.strip() for cell in cells.split("|")] for _, stage, cells in rows}
    volume = Volume(tmp_path)
    assert told == {
        "pretrain": needs("pretrain", (), 300, volume),
        "pft": needs("pft", (), 700, volume),
        "sft": needs("sft", ("llava-332k",), 700, volume),
    }


def test_the_pictures_are_small() -> None:
    pictures = list((ROOT / "docs/images").glob("*.png"))
    assert pictures
    assert [one.name for one in pictures if one.stat().st_size > 200_000] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("libmoe trian --stage 1", "trian is no command"),
        ("docker run --rm libmoe train --stage 1 --gpuss 2  # all", "No such option"),
        ("sbatch --wrap 'libmoe prepare --stag 3'", "No such option"),
        ("libmoe train --stage 1 && libmoe config shw", "shw is no command"),
        ("libmoe train --stage sft --set train.epoch=2", "Unknown setting"),
        ("libmoe train --stage sft --preset tinny", "Unknown preset"),
    ],
)
def test_a_line_that_would_not_start_is_noticed(line: str, words: str) -> None:
    (found,) = filter(None, map(complaint, invocations(line, "libmoe")))
    assert words in found

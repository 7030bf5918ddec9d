"""Upstream's checkpoints to ours and back: ``python -m libmoe.model.interchange import|export``."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from libmoe.config.errors import LibmoeError, TryAgainError
from libmoe.model.interchange import Origin, export_checkpoint, import_checkpoint


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the folder that was written on stdout; an error is one sentence on stderr and its exit code."""
    arguments = _arguments(argv)
    try:
        if arguments.action == "import":
            _import(arguments)
        else:
            export_checkpoint(arguments.source, arguments.destination, arguments.tower)
    except LibmoeError as error:
        sys.stderr.write(f"libmoe: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"libmoe: Interrupted: {arguments.destination} was not written.\n")
        return TryAgainError.exit_code
    sys.stdout.write(f"{arguments.destination}\n")
    return 0


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    """The first signal ends the work; what was written of it is then deleted undisturbed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _import(arguments: argparse.Namespace) -> None:
    origin = Origin(arguments.tower, arguments.language, arguments.tokenizer)
    report = import_checkpoint(arguments.source, arguments.destination, origin)
    for reason, names in report.left_out.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        sys.stderr.write(f"Left out {names[0]}{others}: {reason}.\n")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m libmoe.model.interchange", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)

    def action(name: str, help: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help, description=help)
        added.add_argument("source", type=Path, help="folder of the checkpoint")
        added.add_argument("destination", type=Path, help="folder to write; it must not exist or be empty")
        return added

    importing = action("import", "Upstream's checkpoint to a folder that from_pretrained loads.")
    importing.add_argument(
        "--tower",
        type=Path,
        help="folder with the vision tower, where config.json names none of a preset's or "
        "the checkpoint holds no tower",
    )
    importing.add_argument(
        "--language",
        type=Path,
        help="folder with the language model, where the checkpoint holds the connector alone",
    )
    importing.add_argument(
        "--tokenizer", type=Path, help="folder with the tokenizer, where the checkpoint has none"
    )
    exporting = action("export", "A model that libmoe saved to the layout that upstream loads.")
    exporting.add_argument(
        "--tower", help="the tower's name on the hub, where no preset has one of its shape"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.exit(main())

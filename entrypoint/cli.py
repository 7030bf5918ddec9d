"""The ``libmoe`` command: a click group that imports a command's module only when that command runs."""

import importlib
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

import click

from libmoe.config.errors import LibmoeError, TryAgainError, UsageError, nearest

COMMANDS = {
    "prepare": "Fetch, verify and unpack what a stage needs.",
    "catalog": "What can be fetched: list it, show one, freeze a catalogue of your own.",
    "verify": "Join every annotation row with the images on the volume.",
    "status": "What the volume holds.",
    "train": "Train one stage or all three with DeepSpeed.",
    "report": "A run as one HTML page: curves, expert load, settings.",
    "reproduce": "A run once more from its run.json: the same losses?",
    "generate": "Answer a prompt about an image with a trained model.",
    "convert": "Upstream's checkpoints to ours, and back.",
    "doctor": "What is wrong with this machine, and what to do.",
    "config": "Show the settings of a run and where each came from.",
    "demo": "The whole job on this machine's CPU with the bundled sample.",
}


class LazyGroup(click.Group):
    """Knows its commands by name; ``entrypoint.commands.<name>.command`` is imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports the command's module."""
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f"entrypoint.commands.{name}").command
        _name_variables(command, f"LIBMOE_{name.upper()}")
        _name_numbers(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests the nearest command for an unknown one."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise UsageError(f"Unknown command {args[0]!r}: {nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every option can be given as LIBMOE_<COMMAND>_<OPTION> in the environment.",
)
@click.version_option(package_name="libmoe", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def libmoe(debug: bool) -> None:
    """Fetch LLaVA-style data and train vision-language mixture-of-experts models in three stages."""


def main() -> NoReturn:
    """Runs the command line and exits with the documented code."""
    signal.signal(signal.SIGTERM, _interrupt)
    debug = "--debug" in sys.argv
    try:
        code = libmoe.main(prog_name="libmoe", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(UsageError.exit_code)
    except click.ClickException as error:
        _fail(UsageError(_sentence(error)), debug)
    except (KeyboardInterrupt, click.Abort):
        for again in (signal.SIGINT, signal.SIGTERM):  # somebody impatient; we are on our way out
            signal.signal(again, signal.SIG_IGN)
        _fail(TryAgainError("Interrupted; the same command continues where it stopped."), debug)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except LibmoeError as error:
        _fail(error, debug)
    except Exception as error:
        _fail(_bug(error), debug)


def _name_variables(command: click.Command, prefix: str) -> None:
    """Gives every option its environment variable, named as the option is: LIBMOE_TRAIN_MAX_STEPS."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.envvar is None:
            option = max(parameter.opts, key=len).lstrip("-")
            parameter.envvar = f"{prefix}_{option.upper().replace('-', '_')}"
    if isinstance(command, click.Group):
        for name, subcommand in command.commands.items():
            _name_variables(subcommand, f"{prefix}_{name.upper()}")


def _name_numbers(command: click.Command) -> None:
    """Calls a number N in the help, instead of INTEGER RANGE."""
    for parameter in command.params:
        if isinstance(parameter.type, click.IntRange | click.FloatRange) and not parameter.metavar:
            parameter.metavar = "N"
    for subcommand in getattr(command, "commands", {}).values():
        _name_numbers(subcommand)


def _sentence(error: click.ClickException) -> str:
    """Click's words; of an option that is missing, what it wants too."""
    words = error.format_message().rstrip(".")
    if (
        isinstance(error, click.MissingParameter)
        and isinstance(error.param, click.Option)
        and error.param.help
    ):
        return f"{words}: {error.param.help}"
    return words if words.endswith("?") else f"{words}."


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _bug(error: Exception) -> LibmoeError:
    return LibmoeError(
        f"A bug in libmoe ({type(error).__name__}: {error}); "
        "run again as `libmoe --debug ...` and report what it prints."
    )


def _fail(error: LibmoeError, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    click.echo(f"libmoe: {error}", err=True)
    sys.exit(error.exit_code)

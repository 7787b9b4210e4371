"""The root of the command line: finds the command, runs it, and says what went wrong.

Every command is a line in a table and is imported when it runs, so that `finality --help` waits
for click and for nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from finality import __version__
from finality.cli import status
from finality.cli.group import Group
from finality.cli.terminal import lasting
from finality.core.errors import FinalityError

PROGRAM = "finality"
COMPLETE_VARIABLE = "_FINALITY_COMPLETE"  # Set by the completion script.

COMMANDS = {
    "demo": ("finality.cli.demo.command:demo", "Move money, kill nodes, and check the books."),
    "compare": (
        "finality.cli.compare.command:compare",
        "Run one story in every pattern, side by side.",
    ),
    "run": ("finality.cli.run.command:run", "Run a durable saga for each line of a file."),
    "transaction": (
        "finality.cli.transaction:transaction",
        "List, show and explain transactions; help stuck ones.",
    ),
    "event": ("finality.cli.event:event", "Look after events that were put aside; bring events again."),
    "aggregate": (
        "finality.cli.aggregate:aggregate",
        "See the state of aggregates, now or at a time, and their events.",
    ),
    "subject": ("finality.cli.subject:subject", "Forget a person that personal data is about."),
    "projection": (
        "finality.cli.projection:projection",
        "See how far projections are; pause one, build one anew.",
    ),
    "schema": ("finality.cli.schema:schema", "Keep the schemas of events; see that a change breaks nobody."),
    "asyncapi": ("finality.cli.asyncapi:asyncapi", "Describe a program's events, as AsyncAPI 3.0."),
    "journal": ("finality.cli.journal:journal", "Read the journal, and follow it."),
    "outbox": ("finality.cli.outbox:outbox", "See what is published, send it again, help what is parked."),
    "node": ("finality.cli.node:node", "Show the nodes that share a store."),
    "migrate": ("finality.cli.migrate:migrate", "Bring a store's schema to this version, while nodes run."),
    "doctor": ("finality.cli.doctor:doctor", "Find what is wrong with a store, or soon will be."),
    "bench": ("finality.cli.bench.command:bench", "Measure how many sagas a second this machine can do."),
    "completion": ("finality.cli.completion:completion", "Print the shell completion script."),
}


class LazyGroup(Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        try:
            command: click.Command = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise
            raise click.ClickException(
                f"`finality {cmd_name}` is not part of this installation: {error.name} is missing; "
                "install finality again"
            ) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in COMMANDS.items()])


@click.group(
    PROGRAM,
    cls=LazyGroup,
    epilog=status.EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="finality %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and the log.")
def command_line(debug: bool) -> None:
    """Finality: transactions that take effect everywhere, or are undone everywhere.

    Start with `finality demo`, which needs no server and no network.
    """
    if debug:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status. Errors are told in one line, without a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_output()
    try:
        _check_text(given)
        returned = _run(given)
        sys.stdout.flush()
        return returned if isinstance(returned, int) else status.OK
    except click.exceptions.Exit as error:
        return error.exit_code
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go, and Python would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status.BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        return status.INTERRUPTED
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            return status.INTERRUPTED  # Python 3.11 wraps one that comes while it makes a class.
        if "--debug" in given:
            raise
        return _tell(error)


def _prepare_output() -> None:
    """See that there is something to print to, and that no letter stops us there."""
    # A stream is None where the caller has closed it, as a daemon or `>&-` does.
    sys.stdout = lasting(sys.stdout or open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    sys.stderr = lasting(sys.stderr or open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _check_text(given: list[str]) -> None:
    """See that what was typed is text in the terminal's encoding.

    Raises:
        UsageError: Some of its bytes are none; no id or name could be so.
    """
    for each in given:
        if not each.isascii() and any("\ud800" <= letter <= "\udfff" for letter in each):
            raise click.UsageError(
                f"{each!r} is no text in the encoding {sys.getfilesystemencoding()}: "
                "type it as such, or set LANG to a locale of UTF-8, as C.UTF-8"
            )


def _run(given: list[str]) -> object:
    """Run a command, or complete one for a shell; return what it returns."""
    if COMPLETE_VARIABLE in os.environ:
        from click.shell_completion import add_completion_class

        from finality.cli.completion import Bash, Fish, Zsh

        for shell in (Bash, Zsh, Fish):
            add_completion_class(shell)
        return command_line.main(given, PROGRAM, complete_var=COMPLETE_VARIABLE)
    # Not by main(), which keeps a broken pipe for itself.
    with command_line.make_context(PROGRAM, list(given)) as context:
        return command_line.invoke(context)


def _tell(error: Exception) -> int:
    """Say what went wrong and return the exit status."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return status.USAGE
        case click.UsageError():
            where = error.ctx.command_path if error.ctx is not None else PROGRAM
            told = _sentence(error.format_message())
            code = status.USAGE
            told = f"{told}{' ' if told.endswith('?') else '; '}see `{where} --help`"
        case click.ClickException():
            told, code = error.format_message(), error.exit_code
        case FinalityError():
            told, code = str(error), status.FAILED
        case OSError():
            told, code = (
                f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "),
                status.FAILED,
            )
        case _:
            told = (
                f"this should not have happened: {type(error).__name__}: {error}; "
                "run it again as `finality --debug …` and report what it shows"
            )
            code = status.FAILED
    from finality.cli.output import complain

    complain(told)
    return code


def _sentence(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]

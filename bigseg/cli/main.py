"""The command line: arguments in, one clear line or table out, documented exit codes.

Everything heavy is imported inside the commands, so that ``bigseg --help`` answers in half a second.
"""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from bigseg.cli import inspecting, making
from bigseg.errors import BigsegError

EXIT_CODES = """Exit codes: 0 done · 1 an unexpected error · 2 wrong usage, pipeline or parameter · 3 the input cannot
be used · 4 the plan does not fit into the memory · 5 the output folder cannot be used (locked, foreign, changed,
incomplete) · 6 reading or writing failed · 7 a self-check failed · 130 interrupted (run again to continue)"""

app = typer.Typer(
    name="bigseg",
    help="Exact, resumable segmentation of volumes that no memory can hold.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (*making.COMMANDS, *inspecting.COMMANDS):
    app.command(epilog=command.example)(command.function)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    version: Annotated[bool, typer.Option("--version", help="print the version and leave")] = False,
) -> None:
    """Read what holds for every command."""
    _State.debug = debug
    if version:
        from bigseg import __version__

        print(__version__)
        raise typer.Exit


class _State:
    debug = False


def main() -> NoReturn:
    """The entry point: errors made for the user become one message and their exit code."""
    try:
        app(standalone_mode=False)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except BigsegError as error:
        if _State.debug:
            raise
        print(f"bigseg: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("bigseg: interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if _State.debug:
            raise
        code = getattr(error, "exit_code", 1)
        show = getattr(error, "show", None)
        if show is not None:  # click's own usage errors know how to show themselves
            show()
        else:
            print(f"bigseg: unexpected {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        sys.exit(code)
    sys.exit(0)

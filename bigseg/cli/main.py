"""The command line: arguments in, one clear line or table out, documented exit codes.

Everything heavy is imported inside the commands, so that ``bigseg --help`` answers in half a second.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from bigseg.cli import (
    evaluating,
    inspecting,
    making,
    securing,
    stopping,
    streams,
    thresholding,
    training,
    tuning,
    verifying,
)
from bigseg.engine import allocator
from bigseg.errors import BigsegError, StorageError

EXIT_CODES = {
    0: "done",
    1: "an unexpected error",
    2: "wrong usage, pipeline or parameter",
    3: "the input cannot be used",
    4: "the plan does not fit into the memory",
    5: "the output folder cannot be used (locked, foreign, changed, incomplete)",
    6: "reading or writing failed (space, permission, I/O)",
    7: "a self-check failed",
    8: "verify found damage and did not repair it",
    9: "some blocks failed every time they were tried; all others of the stage are kept, run again to try them",
    130: "interrupted (Ctrl-C); run the same command again to continue",
    143: "stopped in order (SIGTERM, SIGUSR1, walltime); run the same command again to continue",
}

MOST_LINES, MOST_COLUMNS = 20, 1200
"""Of a message."""

app = typer.Typer(
    name="bigseg",
    help="Exact, resumable segmentation of volumes that no memory can hold.",
    epilog="Exit codes:\n" + "\n".join(f"{code:>4}  {text}" for code, text in EXIT_CODES.items()),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *making.COMMANDS,
    *thresholding.COMMANDS,
    *training.COMMANDS,
    *evaluating.COMMANDS,
    *tuning.COMMANDS,
    *inspecting.COMMANDS,
    *verifying.COMMANDS,
):
    app.command(epilog=f"Example: {command.example}")(command.function)
app.add_typer(securing.cluster, name="cluster")


class _State:
    debug = False


def _version(wanted: bool) -> None:
    if wanted:
        from bigseg import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="print the version and leave", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Read what holds for every command."""
    _State.debug = debug


def main() -> NoReturn:
    """The entry point of the ``bigseg`` command."""
    streams.own()
    stopping.listen()
    allocator.own()
    code = run(sys.argv[1:])
    try:
        streams.flush()
    except OSError as error:
        code = _fail(error, f"cannot write to standard output: {error.strerror}", code or StorageError.exit_code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; errors become one message on stderr and their exit code."""
    _State.debug = False
    try:
        found = app(args=list(arguments), prog_name="bigseg", standalone_mode=False)
    except typer.Exit as leave:
        return int(leave.exit_code)
    except (stopping.Stopped, KeyboardInterrupt) as stop:
        code = getattr(stop, "exit_code", 130)
        return _say(f"{EXIT_CODES.get(code, 'stopped')}", code)
    except SystemExit as leave:  # what the parser makes of every broken pipe; that of our output is none
        error = leave.__context__ if isinstance(leave.__context__, OSError) else OSError("a broken pipe")
        return _fail(error, f"reading or writing failed: {error}", StorageError.exit_code)
    except BigsegError as error:
        return _fail(error, str(error), error.exit_code)
    except OSError as error:
        return _fail(error, f"reading or writing failed: {error}", StorageError.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):  # the parser's own: unknown options, missing arguments
            message = error.format_message()
            return _say(f"{message} (--help shows how)", 2) if message else 2
        return _fail(error, f"unexpected {type(error).__name__}: {error} (bigseg --debug … shows where)", 1)
    return found if isinstance(found, int) else 0


def _fail(error: Exception, message: str, code: int) -> int:
    if _State.debug:
        import traceback

        traceback.print_exception(error)
    return _say(message, code)


def _say(message: str, code: int) -> int:
    print(f"bigseg: {_on_a_screen(message)}", file=sys.stderr)
    return code


def _on_a_screen(message: str) -> str:
    """A message without what would push its beginning off the screen: a megabyte that a file holds, say."""
    lines = [line if len(line) <= MOST_COLUMNS else f"{line[:MOST_COLUMNS]} …" for line in message.splitlines()]
    left = len(lines) - MOST_LINES
    return "\n".join(lines if left <= 0 else [*lines[: MOST_LINES - 1], f"  … and {left} lines more", lines[-1]])


if __name__ == "__main__":
    main()

"""Standard output and error that end no work: closed from the start, closed by whoever read them, or full."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Lasting(io.FileIO):
    """A descriptor that takes what nobody reads any more: `bigseg run … | head` runs to its end.

    Parameters
    ----------
    number : of the descriptor; left open.
    careless : take what cannot be written for any other reason, too: a log on a disk that is full.
    """

    def __init__(self, number: int, careless: bool) -> None:
        super().__init__(number, "wb", closefd=False)
        self.careless = careless

    def write(self, data: ReadableBuffer, /) -> int:
        """All of it, even where it goes nowhere."""
        try:
            return super().write(data)
        except OSError as error:
            if not (self.careless or isinstance(error, BrokenPipeError)):
                raise
            _to_nowhere(self.fileno())
            return memoryview(data).nbytes


def own() -> None:
    """Take over standard output and error, for the program's entry point.

    One that is closed becomes /dev/null, its descriptor too: else the next file that is opened would have its number,
    and get what libraries and workers print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _to_nowhere(number)
    sys.stdout = _lasting(sys.stdout, 1, careless=False)
    sys.stderr = _lasting(sys.stderr, 2, careless=True)


def flush() -> None:
    """Write what standard output still holds.

    Raises
    ------
    OSError
        When it cannot be written although somebody would read it; it is given up then.
    """
    try:
        sys.stdout.flush()
    except OSError:
        _to_nowhere(sys.stdout.fileno())
        raise


def _lasting(stream: TextIO | None, number: int, careless: bool) -> TextIO:
    """A stream like the one that is there."""
    if not isinstance(stream, io.TextIOWrapper):  # none where it was closed
        return io.TextIOWrapper(io.BufferedWriter(_Lasting(number, careless)), "utf-8", "backslashreplace")
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(stream.fileno(), careless)),
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    else:
        os.set_inheritable(number, True)

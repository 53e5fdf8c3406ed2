"""What is read must lie apart from what is made: making it, or beginning again, would remove what is read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bigseg.errors import OutputError


def lies_in(path: str | Path, folder: str | Path) -> bool:
    """Whether a path is a folder or lies in it, wherever links lead.

    >>> lies_in("runs/a/../a/scratch", "runs/a"), lies_in("runs/ab", "runs/a")
    (True, False)
    """
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def refuse_shared(read: Iterable[str | Path], made: Iterable[Path]) -> None:
    """Refuse to read what is written here, or removed when it is begun again.

    Parameters
    ----------
    read : absolute paths; other names (``memory``, that of a phantom) are no files and are passed over.
    made : what is removed or written.

    Raises
    ------
    OutputError
        Naming both; beginning again would be no way out, so none is proposed.
    """
    places = list(made)
    for item in read:
        for place in places:
            if os.path.isabs(item) and lies_in(item, place):
                what = "is" if lies_in(place, item) else f"lies in {place}, which is"
                raise OutputError(f"{item} is to be read, but {what} removed or written here: give another name")

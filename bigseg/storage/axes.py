"""Which stored axes are z, y, x, and which index the others are held at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bigseg.errors import InputError, ParameterError
from bigseg.grid import Shape

Channel = int | str | Sequence[int] | None
"""Which channel to read: an index or a name; one index an axis where several leading axes are long."""

SPACE = ("z", "y", "x")
_KINDS = {
    "z": "space",
    "y": "space",
    "x": "space",
    "c": "channel",
    "t": "time",
    "channel": "channel",
    "time": "time",
}


class Chosen(NamedTuple):
    """How a volume lies in a stored array."""

    prefix: Shape
    """Index at which each leading axis is held."""
    order: Shape
    """For each axis of the volume, its place among the stored axes behind the prefix."""
    axes: tuple[str, ...]


def choose_axes(
    shape: Shape,
    names: Sequence[str],
    kinds: Sequence[str] | None,
    channel: Channel,
    channels: Sequence[str],
    where: str,
) -> Chosen:
    """Find z, y, x among the axes of an array and hold the leading ones at one index.

    Parameters
    ----------
    shape : of the array.
    names : of its axes; empty where unknown.
    kinds : ``space``, ``time`` or ``channel`` for each axis; None where unknown: names that are known decide,
        else the last three axes are z, y, x.
    channel : what the user chose of the leading axes.
    channels : names of the channels.
    where : path of the array, for errors.

    Raises
    ------
    InputError
        When the array is no image or volume, or other axes follow the spatial ones.
    ParameterError
        When a channel must be chosen, or the one chosen is not there.

    >>> choose_axes((3, 9, 9, 9), ("c", "z", "y", "x"), None, 1, (), "a.zarr")
    Chosen(prefix=(1,), order=(0, 1, 2), axes=('z', 'y', 'x'))
    >>> choose_axes((7, 8, 9), ("x", "y", "z"), None, None, (), "a.zarr").order
    (2, 1, 0)
    """
    names = tuple(name.lower() for name in names)
    if kinds is None:
        kinds = kinds_of(names) if len(names) == len(shape) else None
        if kinds is None:
            space = min(3, len(shape))
            kinds = ("channel",) * (len(shape) - space) + ("space",) * space
            names = ("",) * (len(shape) - space) + SPACE[3 - space :]
    spatial = [axis for axis, kind in enumerate(kinds) if kind == "space"]
    first = len(shape) - len(spatial)
    if len(kinds) != len(shape) or len(spatial) not in (2, 3):
        raise InputError(
            f"{where} has shape {shape} and axes {', '.join(names) or 'without names'}: expected a 2-D "
            "image or a 3-D volume, with leading axes like channels if any"
        )
    if spatial != list(range(first, len(shape))):
        raise InputError(
            f"{where} has axes {', '.join(names)}: expected channels and times before z, y, x; store it "
            "again in that order"
        )
    axes = SPACE[3 - len(spatial) :]
    stored = names[first:]
    order = tuple(stored.index(name) for name in axes) if set(stored) == set(axes) else tuple(range(len(axes)))
    return Chosen(_prefix(shape[:first], names[:first], channel, channels, where), order, axes)


def kinds_of(names: Sequence[str]) -> tuple[str, ...] | None:
    """``space``, ``time`` or ``channel`` for each axis, where the names are ones that tell; else None.

    >>> kinds_of(("T", "y", "x")), kinds_of(("a", "y", "x"))
    (('time', 'space', 'space'), None)
    """
    known = tuple(_KINDS.get(name.lower(), "") for name in names)
    unlike = len({name.lower() for name in names}) == len(names)
    return known if all(known) and unlike and {"y", "x"} <= {name.lower() for name in names} else None


def _prefix(shape: Shape, names: Sequence[str], channel: Channel, channels: Sequence[str], where: str) -> Shape:
    if isinstance(channel, str) and channel in channels:
        channel = list(channels).index(channel)
    try:
        chosen = [] if channel is None else [int(channel)] if isinstance(channel, (int, str)) else list(channel)
    except ValueError:
        raise ParameterError(
            f"channel={channel!r}: {where} has the channels {_list(channels) or 'without names'}; give a "
            "name or an index"
        ) from None
    long = [axis for axis, n in enumerate(shape) if n > 1]
    if not chosen and long:
        what = " and ".join(f"{names[axis] or 'leading'} axis of {shape[axis]}" for axis in long)
        example = "1" if len(long) == 1 else str(tuple(range(len(long))))
        typed = example.strip("()").replace(" ", "")
        known = f" ({_list(channels)})" if any(channels) else ""
        raise ParameterError(
            f"{where} has a {what}{known} before the volume: choose one with channel={example} (--channel {typed} on "
            "the command line)"
        )
    wanted = long if len(chosen) == len(long) else list(range(len(shape)))
    if chosen and len(chosen) != len(wanted) and chosen != [0]:
        advice = "" if long else "; leave it out, or name the input that it is of (--channel xray=1)"
        raise ParameterError(f"channel={channel!r}: {where} has {len(long)} leading axes to choose from{advice}")
    prefix = [0] * len(shape)
    for axis, index in zip(wanted, chosen, strict=False):
        if not 0 <= index < shape[axis]:
            raise ParameterError(f"channel={channel!r}: {where} has indices 0 to {shape[axis] - 1} there")
        prefix[axis] = index
    return tuple(prefix)


def _list(channels: Sequence[str]) -> str:
    return ", ".join(f"{k}: {name}" for k, name in enumerate(channels) if name)

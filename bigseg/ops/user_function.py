"""A function of the user's: found by its name, recognised when it changes, sent to workers.

A function travels as bytes made by cloudpickle. One from a module that is not installed (a notebook, a script, a file
beside the pipeline) travels with its code, so that workers need not have the module; one from an installed package
travels as its name. ``digest`` tells whether a resumed run computes with the same code: of the source file of the
module, or of the function itself, with what it refers to, where it belongs to no file (a lambda, a notebook).
"""

from __future__ import annotations

import importlib
import inspect
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle

from bigseg.errors import ComputeError, ParameterError, PipelineError


@dataclass(frozen=True)
class UserFunction:
    """A callable that can travel.

    Parameters
    ----------
    name : ``module:name``.
    digest : of its code.
    packed : the function as bytes.

    >>> import math
    >>> UserFunction.of(math.sqrt).name
    'math:sqrt'
    """

    name: str
    digest: str
    packed: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, function: Callable[..., Any], name: str = "") -> UserFunction:
        """A callable as it is given in Python.

        Raises
        ------
        ParameterError
            When it cannot be sent to another process.
        """
        module = inspect.getmodule(inspect.unwrap(function)) if callable(function) else None
        title = f"{module.__name__ if module else '?'}:{getattr(function, '__qualname__', type(function).__qualname__)}"
        name = name or title
        try:
            packed = _pack(function, module)
            return cls(name, _digest(function, module, name), packed)
        except Exception as error:
            raise ParameterError(
                f"the function {name} cannot be sent to workers ({type(error).__name__}: {error}): expected one that "
                "refers to nothing that is bound to this process (open files, locks, clients)"
            ) from error

    @classmethod
    def load(cls, name: str, folder: Path | None = None) -> UserFunction:
        """The function that ``module:name`` means; modules are also looked for in ``folder``, last of all.

        Runs the code of the module.

        Raises
        ------
        PipelineError
            When there is no such module, or no such function in it.
        """
        module_name, _, attribute = name.partition(":")
        place = [] if folder is None else [str(folder.resolve())]
        sys.path += place
        try:
            found: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as error:
            raise PipelineError(
                f"the function {name} cannot be loaded ({type(error).__name__}: {error}): expected a function in a "
                "module that is installed, on PYTHONPATH, or beside the pipeline file"
            ) from error
        finally:
            for item in place:
                sys.path.reverse()
                sys.path.remove(item)  # the last one: ours
                sys.path.reverse()
        if not callable(found):
            raise PipelineError(f"{name} is {type(found).__name__}: expected a function")
        return cls.of(found, name)

    def __call__(self, *arguments: Any, **parameters: Any) -> Any:
        """Call the function.

        Raises
        ------
        ComputeError
            When it cannot be unpacked here.
        """
        return _unpack(self.packed, self.name)(*arguments, **parameters)


@lru_cache(maxsize=64)
def _unpack(packed: bytes, name: str) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = cloudpickle.loads(packed)
    except Exception as error:
        raise ComputeError(
            f"the function {name} cannot be unpacked on this worker ({type(error).__name__}: {error}): workers need "
            "the same Python and packages as the process that starts the run"
        ) from error
    return found


def _pack(function: Callable[..., Any], module: ModuleType | None) -> bytes:
    """With its code, unless it is installed."""
    top = sys.modules.get(module.__name__.partition(".")[0]) if module else None
    known = cloudpickle.list_registry_pickle_by_value()
    if top is None or top.__name__ == "__main__" or top.__name__ in known or _installed(top):
        return bytes(cloudpickle.dumps(function))
    cloudpickle.register_pickle_by_value(top)
    try:
        return bytes(cloudpickle.dumps(function))
    finally:
        cloudpickle.unregister_pickle_by_value(top)


def _installed(module: ModuleType) -> bool:
    """Whether workers can be expected to have a module."""
    file = getattr(module, "__file__", None)
    if file is None:
        return not hasattr(module, "__path__")  # built in; a folder without __init__ is somebody's own
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return module.__name__ == __name__.partition(".")[0] or any(Path(file).is_relative_to(place) for place in places)


def _digest(function: Callable[..., Any], module: ModuleType | None, name: str) -> str:
    found = blake2b(name.encode(), digest_size=16)
    plain = inspect.unwrap(function)
    qualified = getattr(plain, "__qualname__", "<")
    if module is None or module.__name__ == "__main__" or "<" in qualified:
        found.update(_packed_anywhere(plain))
        return found.hexdigest()
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    found.update(str(getattr(top, "__version__", "")).encode())
    file = getattr(module, "__file__", None)
    if file is not None and Path(file).is_file():
        found.update(Path(file).read_bytes())
    return found.hexdigest()


def _packed_anywhere(function: Callable[..., Any]) -> bytes:
    """The bytes of a function without the place where it was written: a notebook's cells change their names."""
    if not isinstance(function, FunctionType):
        return bytes(cloudpickle.dumps(function))
    moved = FunctionType(
        _without_place(function.__code__),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    moved.__kwdefaults__ = function.__kwdefaults__
    moved.__module__, moved.__qualname__ = "__main__", function.__qualname__
    return bytes(cloudpickle.dumps(moved))


def _without_place(code: CodeType) -> CodeType:
    inner = tuple(_without_place(item) if isinstance(item, CodeType) else item for item in code.co_consts)
    return code.replace(co_filename="", co_firstlineno=1, co_linetable=b"", co_consts=inner)

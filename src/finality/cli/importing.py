"""From what a command line names to a module, or a class, of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import finality.node
from finality.core.errors import DefinitionError

NODE = os.path.dirname(finality.node.__file__)


def imported(target: str) -> ModuleType:
    """Return the module that *target* names: a file, as ``shop/events.py``, or ``shop.events``.

    Raises:
        click.ClickException: There is none, or it fails when it is imported.
    """
    path = Path(target)
    if path.suffix == ".py":
        if not path.is_file():
            raise click.ClickException(f"cannot read {target}: no such file; write a file or a module")
        return imported_file(path)
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(target)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # It is the user's code: whatever it raises, it cannot be imported.
        raise click.ClickException(
            f"{target} cannot be imported: {type(error).__name__}: {_said(error)}; name a file, as "
            "shop/events.py, or a module that Python finds, as shop.events"
        ) from error


def imported_file(path: Path) -> ModuleType:
    """Return the module that *path* is; what lies beside it can be imported from it."""
    is_free = path.stem not in sys.modules and path.stem not in sys.stdlib_module_names
    name = path.stem if is_free else f"{path.stem}_module"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None, f"{path} ends in .py"
    assert spec.loader is not None, f"{path} ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # It is the user's code: whatever it raises, it cannot be imported.
        raise click.ClickException(
            f"{path} cannot be imported: {_place(error, path)}{type(error).__name__}: {_said(error)}; "
            f"{_remedy(error)}"
        ) from error
    return module


def class_of(target: str, base: type, noun: str, example: str) -> type[Any]:
    """Return the class that *target* names, as *example* does; *noun* is what those are that extend *base*.

    Raises:
        click.ClickException: There is no such file or class, or the file fails when it is imported.
    """
    text, colon, name = target.rpartition(":") if ":" in target else (target, "", "")
    path, how = Path(text), f"write the file and the class, as in {example}"
    if path.suffix != ".py":
        raise click.ClickException(f"{target!r} names no {noun}: {how}")
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise click.ClickException(f"cannot read {text}: {what}; {how}")
    module, extended = imported_file(path), f"finality.{base.__name__}"
    found = {
        called: value
        for called, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    }
    own = [called for called, value in found.items() if value.__module__ == module.__name__]
    if not found and not hasattr(module, name):
        raise click.ClickException(f"{text} has no {noun}: extend {extended}, and name it, as in {example}")
    listed = f"its {noun}s are {', '.join(own or found)}"
    if not colon and len(own) == 1:
        return found[own[0]]
    if not name:
        raise click.ClickException(f"{target!r} does not say which {noun}: {listed}; write {text}:NAME")
    if name in found:
        return found[name]
    if hasattr(module, name):
        why = f"it does not extend {extended}; {listed}" if found else f"make it extend {extended}"
        raise click.ClickException(f"{name} in {text} is no {noun}: {why}")
    close = get_close_matches(name, found, n=1)
    hint = f"did you mean {close[0]!r}?" if close else listed
    raise click.ClickException(f"there is no {name!r} in {text}; {hint}")


def _place(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path.resolve())]
    return f"line {lines[-1]}: " if lines else ""


def _remedy(error: BaseException) -> str:
    is_of_node = any(frame.filename.startswith(NODE) for frame in traceback.extract_tb(error.__traceback__))
    if is_of_node and not isinstance(error, DefinitionError):
        return (
            "importing runs it: put what opens a node into another file, or under if __name__ == '__main__'"
        )
    return "put it right and run again"


def _said(error: BaseException) -> str:
    return str(error.msg if isinstance(error, SyntaxError) else error) or "no message"

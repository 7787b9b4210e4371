"""From what a command line names to a module of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

import click


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
            "put it right and run again"
        ) from error
    return module


def _place(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path.resolve())]
    return f"line {lines[-1]}: " if lines else ""


def _said(error: BaseException) -> str:
    return str(error.msg if isinstance(error, SyntaxError) else error) or "no message"

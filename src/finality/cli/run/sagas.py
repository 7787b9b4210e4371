"""From ``FILE.py:Saga`` to the class."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import click


def saga_of(target: str) -> type[Any]:
    """Return the saga that *target* names, as in ``trips.py:BookTrip``.

    Raises:
        click.ClickException: There is no such file or class, or the file fails when it is imported.
    """
    from finality import Saga

    text, colon, name = target.rpartition(":") if ":" in target else (target, "", "")
    path = Path(text)
    if path.suffix != ".py":
        raise click.ClickException(
            f"{target!r} names no saga: write the file and the class, as in trips.py:BookTrip"
        )
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise click.ClickException(
            f"cannot read {text}: {what}; write the file and the class, as in trips.py:BookTrip"
        )
    module = _imported(path)
    sagas = {
        found: value
        for found, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Saga) and value is not Saga
    }
    own = [found for found, value in sagas.items() if value.__module__ == module.__name__]
    listed = f"its sagas are {', '.join(own)}" if own else "it has no saga: extend finality.Saga"
    if not colon and len(own) == 1:
        return sagas[own[0]]
    if not name:
        raise click.ClickException(f"{target!r} does not say which saga: {listed}; write {text}:NAME")
    if name in sagas:
        return sagas[name]
    if hasattr(module, name):
        raise click.ClickException(f"{name} in {text} is no saga: it does not extend finality.Saga; {listed}")
    close = get_close_matches(name, sagas, n=1)
    hint = f"did you mean {close[0]!r}?" if close else listed
    raise click.ClickException(f"there is no {name!r} in {text}; {hint}")


def _imported(path: Path) -> ModuleType:
    """Return the module that *path* is; what lies beside it can be imported from it."""
    is_free = path.stem not in sys.modules and path.stem not in sys.stdlib_module_names
    name = path.stem if is_free else f"{path.stem}_sagas"
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

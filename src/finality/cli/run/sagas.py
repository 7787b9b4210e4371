"""From ``FILE.py:Saga`` to the class."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from finality.cli.importing import imported_file


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
    module = imported_file(path)
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

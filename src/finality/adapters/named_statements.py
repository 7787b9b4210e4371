"""The statements of a ``.sql`` file, by the names they stand under."""

from __future__ import annotations

import re
from importlib import resources


def named_statements(package: str, file: str) -> dict[str, str]:
    """Return the statements of *file* beside the modules of *package*, each on one line."""
    text = (resources.files(package) / file).read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    assert len(set(parts[::2])) == len(parts[::2]), f"{file} gives a name twice"
    bodies = (re.sub(r"--.*", "", body) for body in parts[1::2])
    return {name: " ".join(body.split()) for name, body in zip(parts[::2], bodies, strict=True)}

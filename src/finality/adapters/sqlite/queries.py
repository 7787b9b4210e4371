"""The statements of ``queries.sql``, by name."""

from __future__ import annotations

import re
from importlib import resources


def _load() -> dict[str, str]:
    text = (resources.files(__package__) / "queries.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {
        name: " ".join(line for line in body.splitlines() if not line.startswith("--")).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


QUERIES = _load()

"""The statements of ``home.sql``, by name."""

from __future__ import annotations

from finality.adapters.named_statements import named_statements

QUERIES = named_statements("finality.adapters.postgres", "home.sql")

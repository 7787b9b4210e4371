"""The statements of ``queries.sql``, by name."""

from __future__ import annotations

from finality.adapters.named_statements import named_statements

QUERIES = named_statements("finality.adapters.sqlite", "queries.sql")

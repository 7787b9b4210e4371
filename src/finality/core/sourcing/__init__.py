"""Event sourcing, the pure part: what a fact is, old shapes made new, when a snapshot is due."""

from finality.core.sourcing.fact import (
    ARCHIVED,
    Archived,
    Fact,
    Forgotten,
    Meta,
    is_fact,
    split_type,
    type_name,
)
from finality.core.sourcing.names import (
    FORGOTTEN_PREFIX,
    aggregate_stream,
    category_prefix,
    check_category,
    check_id,
    id_of,
)
from finality.core.sourcing.query import Match, Query, tags_of
from finality.core.sourcing.snapshot import Snapshot, is_due
from finality.core.sourcing.upcasting import Upcaster, missing_upcaster, upcasted

__all__ = [
    "ARCHIVED",
    "FORGOTTEN_PREFIX",
    "Archived",
    "Fact",
    "Forgotten",
    "Match",
    "Meta",
    "Query",
    "Snapshot",
    "Upcaster",
    "aggregate_stream",
    "category_prefix",
    "check_category",
    "check_id",
    "id_of",
    "is_due",
    "is_fact",
    "missing_upcaster",
    "split_type",
    "tags_of",
    "type_name",
    "upcasted",
]

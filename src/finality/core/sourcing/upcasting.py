"""Upcasting: an event of an old shape is made one of today's, a version at a time.

```
    Withdrawn ──1▶2──▶ Withdrawn@2 ──2▶3──▶ Withdrawn@3 ──▶ the class as it is now
```

The journal is never rewritten. An upcaster takes the old fields by name and returns the new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Fields = dict[str, Any]
Upcaster = Callable[[Fields], Fields]


def missing_upcaster(upcasters: Mapping[int, Upcaster], version: int) -> int | None:
    """Return the first version below *version* that nothing leads on from; None if each is covered."""
    return next((each for each in range(1, version) if each not in upcasters), None)


def upcasted(upcasters: Mapping[int, Upcaster], fields: Fields, *, found: int, wanted: int) -> Fields:
    """Return *fields*, written in version *found*, as version *wanted* has them."""
    assert found <= wanted, f"an event of version {found} cannot be made one of version {wanted}"
    for version in range(found, wanted):
        fields = upcasters[version](fields)
    return fields

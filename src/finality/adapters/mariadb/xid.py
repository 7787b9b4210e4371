"""A branch's name as XA writes it: the transaction's id, then what tells its branches apart.

```
    XA PREPARE 'order-17',              'finality:1f2e3d4c5b6a:bank.2'
                transaction, gtrid       home and branch, bqual
```
"""

from __future__ import annotations

from typing import Any

from finality.adapters.mariadb.session import literal
from finality.ports.participant import GLOBAL_PREFIX, BranchId


def xid_of(branch: BranchId) -> str:
    """Return the branch's name as XA's statements take it."""
    return f"{literal(branch.transaction)}, {literal(f'{GLOBAL_PREFIX}:{branch.home}:{branch.name}')}"


def branch_of(row: tuple[Any, ...]) -> BranchId | None:
    """Return the branch that a row of ``XA RECOVER`` names; None if it is none of ours."""
    _, transaction_length, _, data = row
    text = data.encode() if isinstance(data, str) else bytes(data)
    transaction, qualifier = text[:transaction_length], text[transaction_length:]
    prefix, colon, rest = qualifier.decode("ascii", "replace").partition(":")
    home, other, name = rest.partition(":")
    if not (colon and other):
        return None
    return BranchId.parse(f"{prefix}:{home}:{transaction.decode('ascii', 'replace')}:{name}")

"""By value: let the risk of the business choose how careful a saga is.

```
    amount < limit ──▶ below: plain and fast; what goes wrong now and then is cheap to put right
    otherwise      ──▶ above: careful, with semantic locks or a person's approval
```
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Comparable(Protocol):
    """What has an order: numbers, decimals, times."""

    def __lt__(self, other: Any, /) -> bool: ...


def by_value(amount: Comparable, limit: Comparable, *, below: A, above: B) -> A | B:
    """Return *below* if *amount* is less than *limit*, and *above* otherwise.

    The choice is made when the saga starts and kept with it: a limit that changes later changes
    no saga that is open. What cannot be compared, as a float that is not a number, is above.

    ```
        BuyNow = finality.by_value(order.total, 1_000, below=Buy, above=BuyWithApproval)
        await node.start(BuyNow(order), id=order.id)
    ```

    Args:
        below: A saga class, or anything else that makes or is the saga to start.
        above: The more careful one.
    """
    return below if amount < limit else above

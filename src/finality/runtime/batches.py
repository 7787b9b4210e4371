"""Deliveries that hold several events: each event goes its own way, and the last one acknowledges all.

```
   delivery ──▶ a, b, c ──▶ lane of a ─┐
                            lane of b ─┼─▶ all are done with ──▶ acknowledged
                            lane of c ─┘
```

What has run of a delivery that comes again, because its node died in between, is known to the inbox.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from finality.ports.broker import Delivery
from finality.runtime.envelopes import events_in


class Batches:
    """The deliveries of a subscription that are under way in parts.

    Args:
        done: Called with deliveries all of whose events are done with.
    """

    def __init__(self, done: Callable[[list[Delivery]], None]) -> None:
        self._done = done
        self._left: dict[tuple[int, str], int] = {}

    def parts(self, delivery: Delivery) -> Sequence[Delivery]:
        """Return a delivery for each of its events; ``put`` wants to hear of every one."""
        events = events_in(delivery.envelope)
        if len(events) == 1:
            return (delivery._replace(envelope=events[0]),)
        if not events:
            self._done([delivery])
        else:
            place = delivery.partition, delivery.position
            # One that is delivered again meanwhile has to be done with as often.
            self._left[place] = self._left.get(place, 0) + len(events)
        return [delivery._replace(envelope=event) for event in events]

    def put(self, parts: list[Delivery]) -> None:
        """Take note of what is done with."""
        ended = [part for part in parts if self._is_last(part)] if self._left else parts
        if ended:
            self._done(ended)

    def _is_last(self, part: Delivery) -> bool:
        place = part.partition, part.position
        left = self._left.get(place, 1) - 1
        if left:
            self._left[place] = left
        else:
            self._left.pop(place, None)
        return not left

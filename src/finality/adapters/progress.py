"""How far a group is with a partition: what it was given, what it has acknowledged, what comes again.

```
    done            in hand, later            not read
  ● ● ● ● ● ● │ ● ○ ● ○ ○ ● ● ○ ● ● │ ◌ ◌ ◌ ◌ ◌ ◌ ◌
              done_to               read_to
```

Positions grow, and may have gaps. Only those that are not done are kept one by one, so that progress is
as small as what the group has in hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Later(NamedTuple):
    """An event that is given again when it is due."""

    due: float
    attempt: int


@dataclass(slots=True)
class Progress:
    """A group's progress in a partition.

    Attributes:
        read_to: Everything up to here was given to the group at least once.
        in_hand: How often each was given that is not acknowledged, by position.
        later: What is to be given again, by position.
    """

    read_to: int
    in_hand: dict[int, int] = field(default_factory=dict)
    later: dict[int, Later] = field(default_factory=dict)

    @property
    def done_to(self) -> int:
        """Return up to where the group has acknowledged everything."""
        return min(min(self.in_hand, default=self.read_to + 1), min(self.later, default=self.read_to + 1)) - 1

    @property
    def next_due(self) -> float | None:
        """Return when the next is due, if any is to come again."""
        return min((each.due for each in self.later.values()), default=None)

    def due(self, now: float) -> list[int]:
        """Return the positions of what is due, in order."""
        return sorted(position for position, each in self.later.items() if each.due <= now)

    def give(self, position: int) -> int:
        """Give the event at *position*, which is due or not read yet; return how often it was given."""
        again = self.later.pop(position, None)
        attempt = again.attempt + 1 if again else 1
        self.in_hand[position] = attempt
        self.read_to = max(self.read_to, position)
        return attempt

    def done(self, position: int) -> None:
        """The group has acknowledged it; also one that it had given back, or let go of."""
        self.in_hand.pop(position, None)
        self.later.pop(position, None)

    def put_back(self, position: int, due: float) -> None:
        """Give it again when it is due; nothing if the group has it no more."""
        attempt = self.in_hand.pop(position, None)
        if attempt is not None:
            self.later[position] = Later(due, attempt)

    def let_go(self) -> None:
        """Give again at once what is in hand: whoever had it is gone."""
        for position in list(self.in_hand):
            self.put_back(position, 0.0)

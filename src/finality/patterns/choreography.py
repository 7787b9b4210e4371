"""A choreography as users write it: its reactions, how it begins and ends, and how long it may take.

```
    TOUR = finality.Choreography(
        "tour",
        reactions=[book_room, free_room, book_seat, free_seat, confirm, give_up],
        begins=TourRequested,
        completes=TourBooked,
        fails=[SeatRefused, TourFailed],
        deadline=timedelta(minutes=5),
        expires=expired,                     # def expired(requested: TourRequested) -> TourExpired
    )
```

The graph is drawn from the annotations of the reactions and checked here, when the module is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

from finality.core.choreography import DEFINITION, Part, Shape, mistakes
from finality.core.errors import DefinitionError
from finality.patterns.options import positive
from finality.patterns.reaction import Reaction
from finality.patterns.signature import hints_of, signature_of
from finality.ports.topic_names import check_topic
from finality.runtime.choreography import ChoreographyCode
from finality.runtime.reaction import Against, ReactionCode


class Choreography:
    """Services that react to each other's events until a run is complete, or undone.

    Attributes:
        reactions: All of them; each service opens its node with its own.
        code: What a node watches.
    """

    def __init__(
        self,
        name: str,
        *,
        reactions: Sequence[Reaction[..., Any]],
        begins: type[Any],
        completes: type[Any],
        fails: Iterable[type[Any]],
        deadline: timedelta,
        expires: Callable[[Any], Any],
        keeps: Iterable[Reaction[..., Any]] = (),
        hears: Iterable[type[Any]] = (),
    ) -> None:
        """Declare a choreography.

        Args:
            begins: The event that begins a run; whoever publishes it begins one.
            completes: The event that ends a run well: one reaction alone answers with it.
            fails: The answers that turn a run back.
            deadline: How long a run may take.
            expires: Makes, from the event that began it, what is published when the deadline passes.
            keeps: Reactions that leave nothing to undo.
            hears: Events that come from outside, such as a person's word: published with the run's name
                as ``headers={"correlationid": …}``.

        Raises:
            DefinitionError: It cannot keep its promise: the message says why.
        """
        check_topic(name)
        positive(deadline, f"the deadline of choreography {name}")
        self.name, self.reactions = name, tuple(reactions)
        codes = [reaction.code for reaction in reactions]
        scope = sys._getframe(1).f_locals
        expired = _expired(expires, begins, scope, f"{getattr(expires, '__name__', expires)!r} of {name}")
        shape = Shape(
            name,
            begins.__name__,
            completes.__name__,
            tuple(each.__name__ for each in fails),
            tuple(map(_part, codes)),
            deadline.total_seconds(),
            expired.__name__,
            tuple(reaction.code.branch for reaction in keeps),
            tuple(each.__name__ for each in hears),
        )
        _check(shape, codes)
        gate = next(code for code in codes if shape.expires in code.takes)
        version = f"{DEFINITION}-{sha256(repr(shape).encode()).hexdigest()[:8]}"
        topics = dict.fromkeys(topic for code in codes for topic in (code.topic, code.publish))
        self.code = ChoreographyCode(shape, version, tuple(topics), begins, expires, gate.topic)

    def __repr__(self) -> str:
        return f"<choreography {self.name}>"


def _part(code: ReactionCode) -> Part:
    against = code.against
    return Part(
        code.branch,
        tuple(sorted(code.takes)),
        tuple(sorted(code.answers)),
        code.may_be_silent,
        undoes=against[1].branch if against is not None and against[0] is Against.UNDO else None,
        unless=against[1].branch if against is not None and against[0] is Against.UNLESS else None,
    )


def _expired(expires: Callable[[Any], Any], begins: type[Any], scope: dict[str, Any], who: str) -> type[Any]:
    """Return the class of what is published when the deadline passes."""
    signature = signature_of(expires, who, is_method=False)
    hints = hints_of(expires, expires.__annotations__, scope, who)
    taken = hints.get(signature.names[0]) if len(signature.names) == 1 else None
    made = hints.get("return")
    if taken is not begins or not isinstance(made, type):
        raise DefinitionError(
            f"{who} does not make one event from another: declare "
            f"def {expires.__name__}(begun: {begins.__name__}) -> YourExpiredEvent"
        )
    return made


def _check(shape: Shape, codes: Sequence[ReactionCode]) -> None:
    names = [code.branch for code in codes]
    twice = sorted({name for name in names if names.count(name) > 1})
    found = [f"two reactions are called {name}: rename one" for name in twice]
    for code in codes:
        if code.against is not None and code.against[1].branch not in names:
            found.append(
                f"{code.branch} {code.against[0].value} {code.against[1].branch}, which is not listed"
            )
        if code.is_batch:
            found.append(f"{code.branch} takes a list, which holds events of many runs: take one event")
    found += [] if found else mistakes(shape)
    if found:
        raise DefinitionError(f"choreography {shape.name} cannot keep its promise: " + "; and ".join(found))

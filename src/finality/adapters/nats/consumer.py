"""What a subscription knows of the durable consumer of a partition, and of each delivery."""

from __future__ import annotations

from dataclasses import dataclass, field

from nats.aio.msg import Msg


@dataclass(frozen=True, slots=True)
class Held:
    """A delivery that is not acknowledged yet.

    Attributes:
        made: Of which consumer: one that is made anew counts from the beginning.
    """

    message: Msg
    partition: int
    sequence: int
    attempt: int
    made: object


@dataclass(slots=True)
class Consumer:
    """The durable consumer of a partition.

    Attributes:
        made: When it was made.
        held: What it has delivered and not heard of, by its place in the stream.
        later: When it may deliver again what was given back.
        done: What it is to hear of when it delivers it again: a server that was killed has forgotten
            that it had, and does not listen before.
        delivered_to: The place of the newest that it knows it has delivered.
        missing: How many deliveries are under way with nobody.
        pull: The number of the pull that is under way.
        wanted: How many more deliveries that may bring.
        is_lost: It is to be looked for before it is asked again.
    """

    partition: int
    made: object = None
    held: dict[int, Held] = field(default_factory=dict)
    later: dict[int, float] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    delivered_to: int = 0
    missing: int = 0
    pull: int = 0
    wanted: int = 0
    heard_at: float = 0.0
    is_lost: bool = True

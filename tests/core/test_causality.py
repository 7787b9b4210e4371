"""Which transaction came of which."""

from __future__ import annotations

from finality.core.causality import Cause, first_cause, tree_of
from finality.core.ids import Json, NodeId, Position, StreamName, TransactionId, Version
from finality.core.protocol import Recorded
from finality.core.saga.events import Completed, SagaEvent, Started


def recorded(stream: str, event: SagaEvent, position: int) -> Recorded:
    return Recorded(
        Position(position), StreamName(f"transaction/{stream}"), Version(1), event, 0.0, NodeId("n")
    )


def started(saga: str, parent: str | None = None, step: str | None = None) -> Started:
    return Started(saga, "1", Json("{}"), None, TransactionId(parent) if parent else None, step)


JOURNAL = [
    recorded("trip", started("BookTrip"), 1),
    recorded("trip/visa", started("GetVisa", "trip", "visa"), 2),
    recorded("other", started("BookTrip"), 3),
    recorded("trip/insurance", started("Insure", "trip", "insurance"), 4),
    recorded("trip/visa/mail", started("SendMail", "trip/visa", "mail"), 5),
    recorded("trip/visa/mail", Completed(), 6),
]


def test_a_tree_shows_each_transaction_below_what_it_came_of() -> None:
    lines = [(depth, node.transaction, node.step) for root in tree_of(JOURNAL) for depth, node in root.walk()]

    assert lines == [
        (0, "trip", None),
        (1, "trip/visa", "visa"),
        (2, "trip/visa/mail", "mail"),
        (1, "trip/insurance", "insurance"),
        (0, "other", None),
    ]


def test_the_whole_tree_has_one_correlation_and_each_its_own_causation() -> None:
    trip, other = tree_of(JOURNAL)

    assert {node.cause.correlation for _, node in trip.walk()} == {"trip"}
    assert [node.cause.causation for _, node in trip.walk()] == ["trip", "trip", "trip/visa", "trip"]
    assert other.cause == Cause("other", "other")


def test_a_child_whose_parent_is_not_in_sight_is_a_root() -> None:
    (root,) = tree_of(JOURNAL[4:])

    assert root.transaction == "trip/visa/mail"
    assert root.cause == first_cause(TransactionId("trip/visa/mail"))


def test_a_journal_without_transactions_has_no_tree() -> None:
    assert tree_of([]) == ()

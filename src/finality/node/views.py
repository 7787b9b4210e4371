"""What can be seen of transactions, whoever drives them, and also of those that nobody can."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from finality.core import two_phase
from finality.core.choreography import DEFINITION, Shape, explain_run
from finality.core.errors import CompensationFailed, InputMismatch, NotFound, Stuck
from finality.core.explain import Explanation, explain
from finality.core.ids import Json, TransactionId
from finality.core.in_doubt import explain_decided
from finality.core.protocol import Recorded
from finality.core.request import KIND, explain_request
from finality.core.saga import Phase, SagaState, Status, UnknownStep, replay
from finality.node.definitions import Definitions
from finality.patterns.outcome import COMPENSATED, COMPLETED, Outcome
from finality.patterns.saga import Saga
from finality.ports.codec import DecodeError
from finality.ports.home import HEADS_MAX, Head, NodeRow
from finality.runtime.context import Context
from finality.runtime.definition import Definition
from finality.runtime.loading import PARKED


class Views:
    """Reads what is durable, and changes nothing."""

    def __init__(self, context: Context, definitions: Definitions, url: str) -> None:
        self._context = context
        self._definitions = definitions
        self._url = url

    async def head(self, id: str) -> Head:
        """Return a transaction's head.

        Raises:
            NotFound: No transaction has this id.
        """
        head = await self._context.home.find(TransactionId(id))
        if head is None:
            raise NotFound(
                f"no transaction has the id {id!r} in {self._url}: check the id and the store",
                transaction_id=id,
            )
        return head

    async def saga(self, id: str) -> Head:
        """Return the head of a transaction that is a saga.

        Raises:
            NotFound: No saga has this id.
        """
        head = await self.head(id)
        if head.kind == KIND:
            raise NotFound(
                f"transaction {id} is no saga but a {KIND}: `answer` awaits what is said to it, and its "
                "deadline ends it",
                transaction_id=id,
            )
        if head.kind == two_phase.KIND:
            raise NotFound(
                f"transaction {id} is no saga but a {head.kind} commit: `decision` tells how it ended, and "
                "`resolve` helps it on",
                transaction_id=id,
            )
        return head

    async def request(self, id: str) -> Head:
        """Return the head of a transaction that is a request.

        Raises:
            NotFound: No request has this id.
        """
        head = await self.head(id)
        if head.kind != KIND:
            raise NotFound(
                f"transaction {id} is no {KIND} but a {head.kind}: ask for its `outcome` or `decision`",
                transaction_id=id,
            )
        return head

    async def check_same(self, id: TransactionId, definition: Definition, saga: Saga) -> None:
        """See that *id* stands for a transaction that was started with this very input.

        Raises:
            InputMismatch: It stands for another.
        """
        head = await self.head(id)
        if head.kind != definition.kind or not await self._is_input(head, definition, saga):
            raise InputMismatch(
                f"id {id} is taken by a {head.kind} with another input: an id stands for one transaction for "
                "ever; choose another, or start it with the input it had",
                transaction_id=id,
            )

    async def _is_input(self, head: Head, definition: Definition, saga: Saga) -> bool:
        started, codec = (await self.state(head)).started, self._context.codec
        assert started is not None, f"saga {head.id} has begun"
        if started.input == codec.encode(saga):
            return True
        try:
            # Compared as values: sealed secrets and the order of a set differ from text to text.
            return bool(codec.decode(Json(started.input), definition.type) == saga)
        except DecodeError:
            return False  # It was started by another version, whose input looks different.

    async def check_signal(self, head: Head, name: str) -> None:
        """See that a transaction knows the signal *name*.

        Raises:
            NotFound: It does not.
        """
        graph = await self._definitions.graph_of(head.kind, head.definition)
        names = sorted({step.wait.signal for step in graph.steps if step.wait and step.wait.signal})
        if name not in names:
            raise NotFound(
                f"saga {head.id} has no signal {name!r}: {head.kind} knows {', '.join(names) or 'none'}",
                transaction_id=head.id,
            )

    async def state(self, head: Head) -> SagaState:
        """Return a transaction's state.

        Raises:
            Stuck: Its stream cannot be read.
        """
        told = [recorded.event for recorded in await self.history(head)]
        try:
            return replay(await self._definitions.graph_of(head.kind, head.definition), told)
        except UnknownStep as error:
            raise unreadable(head.id, error) from error

    async def history(self, head: Head) -> list[Recorded]:
        """Return a transaction's events, oldest first.

        Raises:
            Stuck: Its stream cannot be read.
        """
        try:
            return await self._context.home.load(head.key)
        except DecodeError as error:
            raise unreadable(head.id, error) from error

    def outcome(self, id: TransactionId, state: SagaState) -> Outcome | None:
        """Return how the transaction ended; None if it has not."""
        if state.phase is Phase.COMPLETED:
            return Outcome(id, COMPLETED, self._result(state))
        if state.phase is Phase.COMPENSATED:
            assert state.undo is not None, f"saga {id} was compensated for a reason"
            return Outcome(id, COMPENSATED, None, state.undo.step, state.undo.because)
        return None

    async def stuck(self, id: TransactionId, state: SagaState) -> Stuck:
        """Return what a caller hears of a transaction that will not end without a person."""
        head = await self.head(id)
        branches = [state.branches[name] for name in state.stuck]
        is_undo = any(branch.status is Status.UNDO_STUCK for branch in branches)
        return (CompensationFailed if is_undo else Stuck)(
            f"saga {id} is {head.status}: {_problem(state)}; put right what is wrong, then "
            f"`finality transaction retry {id}` (`finality transaction explain {id}` says more)",
            transaction_id=id,
            explanation=str(await self.explanation(head)),
        )

    def _result(self, state: SagaState) -> Any:
        result = state.result
        if result is None:
            return None
        definition = self._definitions.known.get((state.graph.saga, state.graph.version))
        return self._context.codec.decode(result, definition.result if definition else Any)

    async def explanation(self, head: Head, held: Mapping[str, str] | None = None) -> Explanation:
        """Say in sentences what happened to a transaction, and what it waits for.

        Args:
            held: What its branches in doubt hold, by their names.
        """
        home, now = self._context.home, self._context.environment.now()
        driver, note = head.driver, head.note
        if not head.has_ended:
            alive = [row for row in await home.nodes() if row.lease_until > now]
            driver = driver if driver in {row.id for row in alive} else None
            note = note or why_undriven(head, alive)
        try:
            if head.kind == two_phase.KIND:
                return explain_decided(await home.load(head.key), now=now, held=held)
            if head.kind == KIND:
                return explain_request(await home.load(head.key), now=now, driver=driver, note=note)
            if is_choreography(head):
                shape = await self._shape(head)
                return explain_run(await home.load(head.key), shape, now=now)
            graph = await self._definitions.graph_of(head.kind, head.definition)
            return explain(await home.load(head.key), graph, now=now, driver=driver, note=note)
        except DecodeError as error:
            return Explanation(
                f"{head.kind} {head.id} is {head.status} and cannot be read",
                (),
                (f"a person to repair its row in the store: {error}",),
                (f'repair it, then let it go on: `finality transaction retry {head.id} --because "…"`',),
            )

    async def _shape(self, head: Head) -> Shape:
        text = await self._context.home.definition(head.kind, head.definition)
        if text is None:
            raise DecodeError(f"the shape of {head.kind} is not kept: its row was deleted from the store")
        shape: Shape = self._context.codec.decode(Json(text), Shape)
        return shape

    async def undriven(self, *, limit: int) -> list[Head]:
        """Return open transactions that no live node can drive, newest first."""
        home, now = self._context.home, self._context.environment.now()
        alive = [row for row in await home.nodes() if row.lease_until > now]
        found: list[Head] = []
        before: int | None = None
        while len(found) < limit:
            page = await home.heads(is_open=True, before=before, limit=HEADS_MAX)
            found += [head for head in page if is_left_alone(head) or why_undriven(head, alive)]
            if len(page) < HEADS_MAX:
                break
            before = page[-1].key
            await asyncio.sleep(0)  # A hundred thousand open ones must not hold up the node.
        return found[:limit]


def is_left_alone(head: Head) -> bool:
    """Say whether a node has said that it cannot go on with a transaction."""
    return head.note is not None or head.status == PARKED


def is_choreography(head: Head) -> bool:
    """Say whether a transaction is a run of a choreography."""
    return head.definition.partition("-")[0] == DEFINITION


def why_undriven(head: Head, alive: Iterable[NodeRow]) -> str | None:
    """Return why none of the nodes that are *alive* can drive a transaction; None if one can."""
    definition = f"{head.kind}@{head.definition}"
    if is_choreography(head):
        return None  # Its services do; nobody conducts them.
    if head.kind == two_phase.KIND:
        return None  # Every node sweeps for it; what its participants say is the doctor's.
    if any(definition in row.drives for row in alive):
        return None
    if head.kind == KIND:
        return "no live node of this home hears answers: start one, with broker="
    return f"no live node can drive {definition}: start one that has this saga"


def unreadable(id: TransactionId, error: Exception) -> Stuck:
    """Return what a caller hears of a transaction whose stream cannot be read."""
    return Stuck(
        f"saga {id} cannot be read: {error}; repair its row in the store, then "
        f"`finality transaction retry {id}`",
        transaction_id=id,
    )


def _problem(state: SagaState) -> str:
    if state.parked is not None:
        return state.parked
    return "; ".join(f"{name}: {state.branches[name].because}" for name in state.stuck) or "it rests"

"""Loads a saga from its stream; one that cannot be read is parked, and stops nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from finality.core.errors import NotFound, Unavailable
from finality.core.ids import Json, Version
from finality.core.saga import SagaState, Summary, UnknownStep, replay
from finality.core.saga.events import Migrated, Parked, TakenOver
from finality.core.saga.summary import NEVER
from finality.ports.codec import DecodeError
from finality.ports.home import Head, HomeTransaction
from finality.runtime.context import Context
from finality.runtime.definition import Definition
from finality.runtime.drive import Drive

PARKED = "parked"


class HomeKeepingTurn:
    """A small change of one head. Whoever submits it may set *done*, to hear what became of it."""

    def __init__(self, key: int) -> None:
        self.name = f"keeping of transaction {key}"
        self.key = key
        self.done: Callable[[BaseException | None], None] = lambda error: None

    def run(self, tx: HomeTransaction) -> None:
        """Change it."""
        raise NotImplementedError

    def forget(self) -> None:
        """Nothing in memory has changed."""

    def settle(self, error: BaseException | None) -> None:
        """Pass on what became of it."""
        self.done(error)


class ParkTurn(HomeKeepingTurn):
    """Parks a saga that cannot be read: a person is told why, and can have it tried again."""

    def __init__(self, key: int, version: Version, because: str) -> None:
        super().__init__(key)
        self._version = version
        self._because = because

    def run(self, tx: HomeTransaction) -> None:
        """Record why."""
        summary = Summary(PARKED, wake_at=NEVER)
        tx.append(self.key, [Parked(self._because)], expected=self._version, summary=summary)
        tx.note(self.key, self._because)


class LeaveTurn(HomeKeepingTurn):
    """Leaves a saga that this node cannot drive to one that can, and says why at its head."""

    def __init__(self, key: int, note: str) -> None:
        super().__init__(key)
        self._note = note

    def run(self, tx: HomeTransaction) -> None:
        """Let go of it."""
        tx.release(self.key, self._note)


class KeepParkedTurn(HomeKeepingTurn):
    """Lets a saga rest that was parked before, and is no better now."""

    def __init__(self, key: int, note: str) -> None:
        super().__init__(key)
        self._note = note

    def run(self, tx: HomeTransaction) -> None:
        """Note why, again."""
        tx.note(self.key, self._note)
        tx.set_wake(self.key, NEVER)


class MigrateTurn(HomeKeepingTurn):
    """Puts a saga under the newer definition that accepts it."""

    def __init__(self, head: Head, definition: Definition) -> None:
        super().__init__(head.key)
        self._head = head
        self._definition = definition

    def run(self, tx: HomeTransaction) -> None:
        """Record the change; the saga is loaded again afterwards."""
        head, definition = self._head, self._definition
        renamed = dict(definition.accepts[head.definition])
        event = Migrated(definition.version, head.definition, renamed)
        summary = Summary(head.status, wake_at=0.0)
        tx.append(self.key, [event], expected=head.version, summary=summary)
        tx.migrate(self.key, definition.kind, definition.version)


class Loader:
    """Makes drives out of streams."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def load(self, key: int) -> Drive | HomeKeepingTurn | None:
        """Return the saga's drive, or what has to be recorded instead; None if it is not ours to drive.

        Raises:
            Unavailable: The store is out of reach.
        """
        context = self._context
        try:
            head = await context.home.head(key)
        except NotFound:
            return None
        if head.has_ended or head.driver != context.node:
            return None
        definition = context.definitions.get((head.kind, head.definition))
        try:
            if definition is None:
                return await self._migrated(head)
            return await self._drive(head, definition)
        except Unavailable:
            raise
        except Exception as error:  # Whatever is wrong with one stream, the others go on.
            return await self._parked(head, error)

    async def _drive(self, head: Head, definition: Definition) -> Drive | None:
        context = self._context
        # Read after the head, so that whoever has taken the saga over meanwhile is seen here.
        told = await context.home.load(head.key)
        for recorded in reversed(told):
            if isinstance(recorded.event, TakenOver):
                if recorded.event.by != context.node:
                    return None
                break
        state = replay(definition.graph, [recorded.event for recorded in told])
        assert state.started is not None, f"the stream of saga {head.id} does not begin with Started"
        saga = context.codec.decode(Json(state.started.input), definition.type)
        last = told[-1].version if told else Version(0)
        return Drive(
            head.key, head.id, definition, saga, state, last,
            node=context.node, parent=head.parent,
            secrets=context.secrets_of(saga) if definition.may_hold_secrets else (),
        )  # fmt: skip

    async def _parked(self, head: Head, error: Exception) -> HomeKeepingTurn:
        is_expected = isinstance(error, DecodeError | UnknownStep)
        text = str(error) if is_expected else f"{type(error).__name__}: {error}"
        because = f"it cannot be read: {text}"
        if head.status == PARKED and not await self._was_retried(head):
            return KeepParkedTurn(head.key, because)  # A node before this one has said so already.
        return ParkTurn(head.key, head.version, because)

    async def _was_retried(self, head: Head) -> bool:
        try:
            told = await self._context.home.load(head.key)
        except DecodeError:
            return False
        return bool(told) and not isinstance(told[-1].event, Parked | TakenOver)

    async def _migrated(self, head: Head) -> HomeKeepingTurn:
        for definition in self._context.definitions.values():
            if definition.kind == head.kind and head.definition in definition.accepts:
                why_not = await self._why_not_under(definition, head)
                return MigrateTurn(head, definition) if why_not is None else LeaveTurn(head.key, why_not)
        return LeaveTurn(head.key, self.unknown(head))

    def unknown(self, head: Head) -> str:
        """Return why this node leaves a saga alone whose version it does not know."""
        known = sorted(version for kind, version in self._context.definitions if kind == head.kind)
        return (
            f"it was started by version {head.definition} of {head.kind} and this node knows "
            f"{', '.join(known) or 'none'}: run a node with the old code, or accept the old version "
            f'with `class {head.kind}(finality.Saga, accepts=("{head.definition}",))`'
        )

    async def _why_not_under(self, definition: Definition, head: Head) -> str | None:
        renamed = dict(definition.accepts[head.definition])
        told: list[Any] = [recorded.event for recorded in await self._context.home.load(head.key)]
        try:
            state: SagaState = replay(
                definition.graph, [*told, Migrated(definition.version, head.definition, renamed)]
            )
        except UnknownStep as error:
            return (
                f"it cannot go on under version {definition.version}: {error}; give the step's new name, "
                f'accepts={{"{head.definition}": {{"old": "new"}}}}, or run a node with the old code'
            )
        try:
            assert state.started is not None, f"the stream of saga {head.id} does not begin with Started"
            self._context.codec.decode(Json(state.started.input), definition.type)
        except DecodeError as error:
            return (
                f"it cannot go on under version {definition.version}: its input does not fit, {error}; "
                "give new fields a default, or run a node with the old code"
            )
        return None

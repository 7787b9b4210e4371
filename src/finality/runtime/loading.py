"""Loads a saga from its stream; one that cannot be read is parked, and stops nothing else."""

from __future__ import annotations

from typing import Any

from finality.core.errors import NotFound
from finality.core.ids import Json, Version
from finality.core.saga import Graph, SagaState, Summary, UnknownStep, replay
from finality.core.saga.events import Migrated, Parked, Started, TakenOver
from finality.core.saga.summary import NEVER
from finality.ports.codec import DecodeError
from finality.ports.home import Head, HomeTransaction
from finality.runtime.context import Context
from finality.runtime.definition import Definition
from finality.runtime.drive import Drive


class HomeKeepingTurn:
    """A small change of one head that nobody waits for."""

    def __init__(self, key: int) -> None:
        self.name = f"keeping of transaction {key}"
        self.key = key

    def forget(self) -> None:
        """Nothing in memory has changed."""

    def settle(self, error: BaseException | None) -> None:
        """If it failed, the next look at the saga does it again."""


class ParkTurn(HomeKeepingTurn):
    """Parks a saga that cannot be read: a person is told why, and can have it tried again."""

    def __init__(self, head: Head, because: str) -> None:
        super().__init__(head.key)
        self._version = head.version
        self._because = because

    def run(self, tx: HomeTransaction) -> None:
        """Record why."""
        summary = Summary("parked", wake_at=NEVER)
        tx.append(self.key, [Parked(self._because)], expected=self._version, summary=summary)
        tx.note(self.key, self._because)


class LeaveTurn(HomeKeepingTurn):
    """Leaves a saga alone that this node does not know, and says so at its head."""

    def __init__(self, key: int, note: str) -> None:
        super().__init__(key)
        self._note = note

    def run(self, tx: HomeTransaction) -> None:
        """Note why."""
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

    def load(self, key: int) -> Drive | HomeKeepingTurn | None:
        """Return the saga's drive, or what has to be recorded instead; None if it has ended."""
        context = self._context
        try:
            head = context.home.head(key)
        except NotFound:
            return None
        if head.has_ended or head.driver != context.node:
            return None
        definition = context.definitions.get((head.kind, head.definition))
        if definition is None:
            return self._migrated(head)
        try:
            told = context.home.load(key)
            state = replay(definition.graph, [recorded.event for recorded in told])
            saga = self._saga(definition, state)
        except (DecodeError, UnknownStep) as error:
            return ParkTurn(head, f"it cannot be read: {error}")
        last = told[-1].version if told else Version(0)
        for recorded in reversed(told):
            if isinstance(recorded.event, TakenOver):
                if recorded.event.by != context.node:
                    return None
                break
        return Drive(
            key, head.id, definition, saga, state, last,
            node=context.node, parent=head.parent, secrets=context.secrets_of(saga),
        )  # fmt: skip

    def _saga(self, definition: Definition, state: SagaState) -> Any:
        assert state.started is not None, "a stream begins with Started"
        return self._context.codec.decode(Json(state.started.input), definition.type)

    def _migrated(self, head: Head) -> HomeKeepingTurn:
        for definition in self._context.definitions.values():
            if definition.kind == head.kind and head.definition in definition.accepts:
                unknown = self._unknown_steps(head, definition)
                if unknown is None:
                    return MigrateTurn(head, definition)
                return LeaveTurn(head.key, unknown)
        known = sorted(v for kind, v in self._context.definitions if kind == head.kind)
        return LeaveTurn(
            head.key,
            f"it was started by version {head.definition} of {head.kind} and this node knows "
            f"{', '.join(known) or 'none'}: run a node with the old code, or accept the old version "
            f'with `class {head.kind}(finality.Saga, accepts=("{head.definition}",))`',
        )

    def _unknown_steps(self, head: Head, definition: Definition) -> str | None:
        renamed = definition.accepts[head.definition]
        told = [recorded.event for recorded in self._context.home.load(head.key)]
        try:
            replay(definition.graph, [*told, Migrated(definition.version, head.definition, dict(renamed))])
        except UnknownStep as error:
            return f"it cannot go on under version {definition.version}: {error}; give the step's new name"
        return None


def started_of(graph: Graph, told: list[Any]) -> Started | None:
    """Return the event that began the stream."""
    return next((r.event for r in told if isinstance(r.event, Started)), None)

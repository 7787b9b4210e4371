"""Loads sagas from their streams, many in one look; one that cannot be read is parked and stops no other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from typing import Any, TypeAlias

from finality.core.ids import Json, Version
from finality.core.saga import SagaState, Summary, UnknownStep, replay
from finality.core.saga.events import Migrated, Parked, TakenOver
from finality.core.saga.summary import NEVER
from finality.ports.codec import DecodeError
from finality.ports.home import Head, History, HomeTransaction
from finality.ports.journal import PAGE_EVENTS_MAX
from finality.runtime.context import Context
from finality.runtime.definition import Definition
from finality.runtime.drive import Drive

PARKED = "parked"


class HomeKeepingTurn(ABC):
    """A small change of one head. Whoever submits it may set *done*, to hear what became of it."""

    def __init__(self, key: int) -> None:
        self.name = f"keeping of transaction {key}"
        self.key = key
        self.done: Callable[[BaseException | None], None] = lambda error: None

    @abstractmethod
    def run(self, tx: HomeTransaction) -> None:
        """Change it."""

    def forget(self) -> None:  # noqa: B027 - none of them changes anything in memory
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


Loaded: TypeAlias = Drive | HomeKeepingTurn | None


class Loader:
    """Makes drives out of streams."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def load(self, keys: Collection[int]) -> AsyncIterator[tuple[int, Loaded]]:
        """Give for each key the saga's drive, or what has to be recorded instead; None if it is not ours.

        Raises:
            Unavailable: The store is out of reach, so nobody has looked at the rest.
        """
        home, node = self._context.home, self._context.node
        heads = {head.key: head for head in await home.heads_of(keys)}
        ours = []
        for key in keys:
            head = heads.get(key)
            if head is None or head.has_ended or head.driver != node:
                yield key, None
            else:
                ours.append(head)
        for page in _pages(ours):
            # Read after the heads, so that whoever has taken a saga over meanwhile is seen here.
            told = await home.histories([head.key for head in page])
            for head in page:
                yield head.key, self._loaded(head, told.get(head.key, []))

    def _loaded(self, head: Head, told: History) -> Loaded:
        definition = self._context.definitions.get((head.kind, head.definition))
        try:
            if definition is None:
                return self._migrated(head, told)
            return self._drive(head, definition, _events(told))
        except Exception as error:  # Whatever is wrong with one stream, the others go on.
            return self._parked(head, told, error)

    def _drive(self, head: Head, definition: Definition, events: list[Any]) -> Drive | None:
        context = self._context
        for event in reversed(events):
            if isinstance(event, TakenOver):
                if event.by != context.node:
                    return None
                break
        state = replay(definition.graph, events)
        assert state.started is not None, f"the stream of saga {head.id} does not begin with Started"
        saga = context.codec.decode(Json(state.started.input), definition.type)
        return Drive(
            head.key, head.id, definition, saga, state, Version(len(events)),
            node=context.node, parent=head.parent,
            secrets=context.secrets_of(saga) if definition.may_hold_secrets else (),
        )  # fmt: skip

    def _parked(self, head: Head, told: History, error: Exception) -> HomeKeepingTurn:
        is_expected = isinstance(error, DecodeError | UnknownStep)
        text = str(error) if is_expected else f"{type(error).__name__}: {error}"
        because = f"it cannot be read: {text}"
        was_retried = isinstance(told, list) and told and not isinstance(told[-1], Parked | TakenOver)
        if head.status == PARKED and not was_retried:
            return KeepParkedTurn(head.key, because)  # A node before this one has said so already.
        return ParkTurn(head.key, head.version, because)

    def _migrated(self, head: Head, told: History) -> HomeKeepingTurn:
        for definition in self._context.definitions.values():
            if definition.kind == head.kind and head.definition in definition.accepts:
                why_not = self._why_not_under(definition, head, _events(told))
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

    def _why_not_under(self, definition: Definition, head: Head, events: list[Any]) -> str | None:
        renamed = dict(definition.accepts[head.definition])
        try:
            state: SagaState = replay(
                definition.graph, [*events, Migrated(definition.version, head.definition, renamed)]
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


def _pages(heads: list[Head]) -> Iterator[list[Head]]:
    """Yield *heads* in pages whose streams may be held in memory together."""
    page: list[Head] = []
    events = 0
    for head in heads:
        events += head.version
        if page and events > PAGE_EVENTS_MAX:
            yield page
            page, events = [], head.version
        page.append(head)
    if page:
        yield page


def _events(told: History) -> list[Any]:
    """Return the events of a stream.

    Raises:
        Exception: It cannot be read.
    """
    if isinstance(told, Exception):
        raise told
    return told

"""What a node has while it is open: its stores, its definitions and its loops; opened and closed whole."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from finality.core.choreography import Seen
from finality.core.errors import FinalityError, NotFound, Unavailable
from finality.core.explain import Explanation
from finality.core.ids import NodeId
from finality.core.in_doubt import explain_undecided
from finality.core.request import KIND
from finality.core.secret import redact, secret_values, without_password
from finality.node.definitions import Definitions
from finality.node.kits import kit_of, projection_kit_of
from finality.node.transactions import Transactions
from finality.node.views import Views
from finality.patterns.choreography import Choreography
from finality.patterns.outbox import Origin, published
from finality.patterns.projection import Projection
from finality.patterns.reaction import Reaction
from finality.patterns.reservation import Reservation, code_of
from finality.patterns.transaction import StepTx, Tx
from finality.ports.broker import Broker
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.events import Published
from finality.ports.home import Home, NodeRow
from finality.ports.participant import Branch, Participant
from finality.ports.store import Store
from finality.ports.tracing import Tracing
from finality.runtime.choreography import ChoreographyCode, KeepShapeTurn, Watcher
from finality.runtime.commitment import Commitments
from finality.runtime.context import Context
from finality.runtime.coordinator import Coordinator
from finality.runtime.decisions import Decisions
from finality.runtime.leases import Leases
from finality.runtime.link import Link
from finality.runtime.lookout import Lookout
from finality.runtime.projection import ProjectionCode
from finality.runtime.projections import Projections
from finality.runtime.reaction import ReactionCode
from finality.runtime.reactions import Reactions
from finality.runtime.reader import Reader
from finality.runtime.recovery import Recovery
from finality.runtime.relay import Relay
from finality.runtime.requests import DRIVES as REQUESTS
from finality.runtime.requests import Requests
from finality.runtime.reservations.participant import Reservations, participant_name
from finality.runtime.timers import Timers

log = logging.getLogger("finality.node")

WATCH_SECONDS = 0.25  # How soon another process's event in a store that is not the home is relayed.
LET_GO_SECONDS = 5.0  # For the last turn and for each store; a step that holds the turn may never end.


@dataclass(frozen=True, slots=True)
class Settings:
    """What a node was opened with."""

    url: str
    stores: Mapping[str, str]
    sagas: tuple[type[Any], ...]
    participants: tuple[Participant[Branch], ...]
    reservations: tuple[type[Reservation[Any]], ...]
    reactions: tuple[Reaction[..., Any], ...]
    choreographies: tuple[Choreography, ...]
    projections: tuple[Projection[..., Any], ...]
    broker: Broker | None
    has_broker: bool  # It was given one; otherwise the one that it has begins with its first reaction.
    outbox_kept_seconds: float
    inbox_kept_seconds: float
    in_flight_max: int
    lease_seconds: float
    is_observer: bool
    tracing: Tracing
    open_home: Callable[[str, Environment, Codec], Awaitable[Home]]
    open_store: Callable[[str, Environment, str], Awaitable[Store]]
    schemas: str = ""

    @property
    def shown_url(self) -> str:
        """Return the home store's URL as a person may see it."""
        return without_password(self.url)

    def url_at(self, at: str | None) -> str:
        """Return the URL of a store that a caller has named, or of the home store."""
        return self.stores.get(at or "", self.url)


class Insides:
    """The parts of an open node, put together."""

    def __init__(self, settings: Settings, context: Context, definitions: Definitions) -> None:
        self.settings = settings
        self.context = context
        self.definitions = definitions
        self.views = Views(context, definitions, settings.shown_url)
        self.coordinator = Coordinator(
            context, in_flight_max=settings.in_flight_max, is_observer=settings.is_observer
        )
        self.timers = Timers(context, self._admit, self._look, is_observer=settings.is_observer)
        self.coordinator.kick = self.timers.kick
        self.coordinator.sleeps = self.timers.sleeps
        now = context.environment.now()
        row = NodeRow(
            context.node, socket.gethostname(), os.getpid(), frozenset(), now, now + settings.lease_seconds
        )
        self.leases = Leases(context, row, self._taken_over, seconds=settings.lease_seconds)
        self.participants = {
            each.name: each for each in (*settings.participants, *_reservations(settings, context))
        }
        self.decisions = Decisions(context)
        self.commitments = Commitments(self.participants, self.decisions, context.environment)
        self.recovery = Recovery(self.commitments)
        self.transactions = Transactions(context, self.commitments, self.recovery)
        self.link = None if settings.broker is None else Link(settings.broker, context.environment)
        self.relays: list[Relay] = []
        self.readers: list[Reader] = []
        self.reactions = Reactions(
            kit_of(context),
            self.link,
            lease_seconds=settings.lease_seconds,
            window_seconds=settings.inbox_kept_seconds,
            is_observer=settings.is_observer,
            began=self._reactions_began,
        )
        self.requests = Requests(
            context, self.link, self.reactions, self.coordinator.waiting, self.timers.sleeps
        )
        if self.link is not None:
            self.leases.advertised.add(REQUESTS)
        self.projections = Projections(
            projection_kit_of(context),
            lease_seconds=settings.lease_seconds,
            is_observer=settings.is_observer,
            began=self._projections_began,
        )
        self._loops: list[asyncio.Task[None]] = []

    def _admit(self, due: list[tuple[int, str]]) -> None:
        """Take in hand what was claimed: sagas, and requests."""
        requests = [key for key, kind in due if kind == KIND]
        if requests:
            self.requests.admit(requests)
        self.coordinator.admit([each for each in due if each[1] != KIND])

    def _taken_over(self) -> None:
        self.timers.kick()
        self.requests.resume()

    @property
    def link_in_use(self) -> Link | None:
        """Return the link to the broker, unless nobody has asked for one so far."""
        return self.link if self.settings.has_broker or self.relays else None

    def _reactions_began(self, readers: Iterable[str]) -> None:
        """Tell the other nodes, so that they leave this one its part."""
        if not self.relays:  # Nobody gave it a broker: now there is something to relay for.
            self._add_relays()
            self._start_relays()
        self.leases.advertised.update(readers)
        self.leases.drives_changed()

    async def _watch_choreography(self, code: ChoreographyCode) -> None:
        """Put the runs of a choreography together in the home store."""
        context = self.context
        turn = KeepShapeTurn(code, context.codec)
        context.home.submit(turn)
        await turn.done

        def published_(topic: str, value: Any, begun: Seen) -> Published:
            origin = Origin(begun.run, begun.id)
            return published(context.codec, topic, value, key=begun.key, origin=origin)

        watcher = Watcher(code, context.codec, context.environment, published_)
        for reaction in watcher.reactions(await self.decisions.identity()):
            self.reactions.add(reaction)

    def _projections_began(self, readers: Iterable[Reader]) -> None:
        self.leases.advertised.update(reader.advertised for reader in readers)
        self.leases.drives_changed()

    def _add_relays(self) -> None:
        if self.link is None or self.settings.is_observer:
            return
        self.relays = [
            Relay(
                self.context,
                store,
                self.link,
                retention_seconds=self.settings.outbox_kept_seconds,
                lease_seconds=self.settings.lease_seconds,
                schemas=self.settings.schemas,
            )
            for store in (self.context.home, *self.context.stores.values())
        ]
        self.readers = [relay.reader for relay in self.relays]
        self.leases.advertised.update(reader.advertised for reader in self.readers)

    def _start_relays(self) -> None:
        for reader in self.readers:
            reader.store.on_publish(reader.kick)
            self._loops.append(asyncio.ensure_future(reader.run()))
        if self.relays:
            self._loops += [asyncio.ensure_future(self._watch(each)) for each in self.context.stores.values()]

    async def start_loops(self) -> None:
        """Join the other nodes and begin to drive sagas."""
        for saga in self.settings.sagas:
            await self.definitions.register(saga)
        for choreography in self.settings.choreographies:
            await self._watch_choreography(choreography.code)
        self.definitions.changed = self.leases.drives_changed
        if self.settings.has_broker:
            self._add_relays()
        if not self.settings.is_observer:
            await self.leases.renew()
            self.requests.resume()
            self._loops.append(asyncio.ensure_future(self.leases.run()))
            if self.participants:
                # Now, since a block that holds the home store's write turn could not ask for it.
                await self.decisions.identity()
                self._loops.append(asyncio.ensure_future(self.recovery.run()))
        self._loops.append(asyncio.ensure_future(self.timers.run()))
        self._start_relays()

    async def _look(self) -> None:
        """Hear that somebody has committed in the home store."""
        self._kick(self.context.home)
        self.projections.kick()
        await self.coordinator.look()

    def _kick(self, store: Store) -> None:
        for reader in self.readers:
            if reader.store is store:
                reader.kick()

    async def _watch(self, store: Store) -> None:
        """Look until cancelled whether somebody else has committed in another store."""
        told = asyncio.Event()
        lookout = Lookout(store, told, WATCH_SECONDS)
        while True:
            told.clear()
            try:
                if await lookout.look():
                    self._kick(store)
            except FinalityError as error:
                log.debug("store %s could not be looked at: %s", store.name, error)
            await lookout.rest()

    async def explanation(self, id: str) -> Explanation:
        """Explain a transaction, also one that participants hold in doubt and nobody has decided.

        Raises:
            NotFound: No transaction has this id.
        """
        held = await self.transactions.held(id) if self.participants else {}
        try:
            return await self.views.explanation(await self.views.head(id), held)
        except NotFound:
            if not held:
                raise
            return explain_undecided(id, held)

    async def close(self, drain_seconds: float) -> None:
        """Drain, hand the sagas over and close the stores, however bad things are."""
        try:
            self.leases.stop_taking()  # Or it would take what it lets go of.
            await self.coordinator.drain(drain_seconds)
            await self.recovery.close(LET_GO_SECONDS)
            for loop in self._loops:
                loop.cancel()
            await asyncio.gather(*self._loops, return_exceptions=True)
            await asyncio.wait_for(self.commitments.recording.drain(), LET_GO_SECONDS)
            await self.requests.close()
            await self.reactions.close()
            await asyncio.wait_for(self.projections.close(), LET_GO_SECONDS)
            await asyncio.wait_for(asyncio.gather(*(each.close() for each in self.readers)), LET_GO_SECONDS)
            if not self.settings.is_observer:
                await asyncio.wait_for(self.leases.leave(), LET_GO_SECONDS)
        except (FinalityError, TimeoutError) as error:
            why = str(error) or f"it took more than {LET_GO_SECONDS:.0f} seconds"
            log.warning("the lease could not be given back, so others wait for its end: %s", why)
        finally:
            self.coordinator.waiting.close()
            for participant in self.settings.participants:
                await _close(participant)
            if self.link is not None:
                await _close(self.link)
            for store in (*self.context.stores.values(), self.context.home):
                await _close(store)


async def open_insides(
    settings: Settings,
    reactions: Iterable[ReactionCode],
    projections: Iterable[ProjectionCode],
    codec: Codec,
    environment: Environment,
) -> Insides:
    """Open the stores and start the loops; whatever fails, nothing is left open."""
    opened: list[Store | Participant[Branch]] = []
    try:
        home = await settings.open_home(settings.url, environment, codec)
        opened.append(home)
        stores: dict[str, Store] = {}
        for name, url in settings.stores.items():
            stores[name] = await settings.open_store(url, environment, name)
            opened.append(stores[name])
        for participant in settings.participants:
            opened.append(participant)
            await _connect(participant, environment)
        definitions = Definitions(home, stores)
        context = Context(
            node=NodeId(f"{socket.gethostname()}-{os.getpid()}-{environment.random_bits(24):06x}"),
            home=home,
            stores=stores,
            codec=codec,
            environment=environment,
            definitions=definitions.known,
            turn_tx=partial(StepTx, codec),
            scope_tx=lambda scope, id, key, begin: Tx(scope, codec, key, begin, Origin(id, id)),
            redact=redact,
            secrets_of=secret_values,
            definition_of=definitions.of,
            graph_of=definitions.graph_of,
            broker="" if settings.broker is None else settings.broker.name,
            tracing=settings.tracing,
        )
        insides = Insides(settings, context, definitions)
        for code in reactions:
            insides.reactions.add(code)
        for projection in projections:
            insides.projections.add(projection)
        await insides.start_loops()
    except BaseException:
        for each in reversed(opened):
            await _close(each)
        raise
    return insides


def _reservations(settings: Settings, context: Context) -> tuple[Reservations, ...]:
    """Return the participants that reservations are: one in each store.

    An observer can do nothing for them, and tells what they hold all the same.
    """
    kinds = {code.kind: code for code in map(code_of, settings.reservations)}
    if not kinds and not settings.is_observer:
        return ()
    places = (None, *context.stores)
    return tuple(Reservations(participant_name(at), context, context.store(at), kinds) for at in places)


async def _connect(participant: Participant[Branch], environment: Environment) -> None:
    try:
        await participant.open(environment)
    except Unavailable as error:
        log.warning("participant %s is tried again when it is needed: %s", participant.name, error)


async def _close(store: Store | Participant[Branch] | Link) -> None:
    try:
        await asyncio.wait_for(store.close(), LET_GO_SECONDS)
    except TimeoutError:
        log.error(
            "%s could not be closed in time: something still works in it; what is not committed is gone",
            store.name,
        )

"""The synchronous face: the same node, driven from a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self, TypeVar

from finality.adapters.system.end_signals import heard
from finality.core.errors import Unavailable
from finality.core.explain import Explanation
from finality.core.protocol import Recorded
from finality.core.two_phase import Decision
from finality.node.async_node import DRAIN_SECONDS, AsyncNode
from finality.node.block import BlockTx
from finality.node.health import Health
from finality.node.inbox import SyncInbox
from finality.node.opening import open_async
from finality.node.outbox import SyncOutbox
from finality.node.sync_aggregates import SyncAggregates
from finality.node.sync_handle import SyncHandle
from finality.node.sync_projecting import SyncProjected
from finality.node.sync_requesting import SyncRequesting
from finality.patterns.choreography import Choreography
from finality.patterns.outcome import Outcome
from finality.patterns.projection import Projection
from finality.patterns.protocol import TWO_PHASE, CommitProtocol
from finality.patterns.reaction import Declare, Reaction
from finality.patterns.reservation import Reservation
from finality.patterns.saga import Saga
from finality.patterns.transaction import SyncTx
from finality.ports.broker import Broker
from finality.ports.environment import Environment
from finality.ports.home import Head, NodeRow
from finality.ports.participant import Branch, Participant
from finality.ports.tracing import Tracing
from finality.runtime.coordinator import IN_FLIGHT_MAX
from finality.runtime.leases import LEASE_SECONDS
from finality.runtime.reactions import INBOX_KEPT_SECONDS
from finality.runtime.recovery import Doubt
from finality.runtime.relay import OUTBOX_KEPT_SECONDS

T = TypeVar("T")

log = logging.getLogger("finality.node")

OURS, STEPS = "finality ", "finality step"  # How our threads are named; steps that block may call the node.
LEAVE_SECONDS = 1.0  # For tasks that are left when the loop ends; a step that hangs is left behind.


class Node(SyncAggregates, SyncProjected, SyncRequesting):
    """``AsyncNode`` without ``await``, usable from any thread: Flask, Django, a script.

    Every method may be called by many threads at once. A process that forgets to close it closes it
    when it ends. After a fork it refuses every call in the child: open one there.
    """

    asynchronous: AsyncNode

    def __init__(self, node: AsyncNode) -> None:
        self.asynchronous = node
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name=f"{OURS}node", daemon=True)
        self._thread.start()
        atexit.register(self._close_at_exit)
        try:
            self._wait(node.opened())
        except BaseException:
            self._stop()
            raise

    # ── The loop in its thread ──────────────────────────────────────────────────────────────

    def _run_loop(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=LEAVE_SECONDS))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _wait(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run *work* on the loop and return its answer.

        Raises:
            Unavailable: The node cannot be asked from here.
            TimeoutError: There was no answer in time.
        """
        try:
            # Under the lock, so that whatever is put on the loop is there before its end is.
            with self._lock:
                self._check_usable()
                answer = asyncio.run_coroutine_threadsafe(work, self._loop)
        except BaseException:
            work.close()
            raise
        try:
            return answer.result(timeout)
        except CancelledError:
            raise Unavailable("the node was closed meanwhile: ask again by id, at any node") from None
        except BaseException:
            answer.cancel()  # Nobody waits any more, after a timeout or a Ctrl-C.
            raise

    def _check_usable(self) -> None:
        if os.getpid() != self._process:
            raise Unavailable(
                "the node was opened before this process was forked, and its threads are in the other one: "
                "open a node in this process"
            )
        if self._is_closed:
            raise Unavailable("the node is closed: open a new one")
        thread = threading.current_thread().name
        if thread.startswith(OURS) and not thread.startswith(STEPS):
            raise Unavailable(
                "a step called the node that runs it, and both would wait for each other for ever: "
                "call it in a step without tx that is a plain def, or do it through tx"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Let the steps under way finish, hand over the rest at once and close the stores.

        It is bounded, also when a step hangs. Closing twice, or in a forked child, does nothing.
        """
        if self._is_closed or os.getpid() != self._process:
            return
        self._wait(self.asynchronous.close(drain_seconds=drain_seconds))
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        atexit.unregister(self._close_at_exit)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except Unavailable as error:
            log.debug("%s", error)  # Another thread was faster.

    def serve(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Drive sagas until the process is asked to end, then drain and close: the life of a node's process.

        SIGTERM, Ctrl-C and a closed terminal ask it. Call it in the main thread.
        """
        self._check_usable()
        stopped = threading.Event()
        try:
            with heard(lambda number: stopped.set()):
                stopped.wait()
        finally:
            self.close(drain_seconds=drain_seconds)

    # ── Events ──────────────────────────────────────────────────────────────────────────────

    def react(self, topic: str, *, by: str, **options: Any) -> Declare:
        """Declare a reaction, with the options of ``finality.react``; it begins with the next call."""
        return self.asynchronous.react(topic, by=by, depth=2, **options)

    @property
    def inbox(self) -> SyncInbox:
        """Return what can be asked about events that were put aside."""
        return SyncInbox(self.asynchronous.inbox, self._wait)

    # ── Sagas ───────────────────────────────────────────────────────────────────────────────

    def start(self, saga: Saga, *, id: str | None = None) -> SyncHandle:
        """Start a saga; durable when it returns. See ``AsyncNode.start``."""
        return SyncHandle(self._wait(self.asynchronous.start(saga, id=id)).id, self)

    def outcome(self, id: str, *, timeout: float | None = None) -> Outcome:
        """Wait until the saga has ended and return how; for *timeout* seconds at most.

        Raises:
            TimeoutError: It has not ended yet and goes on; ask again.
            NotFound: No saga has this id.
            Stuck: It cannot go on alone; a person is needed.
        """
        return self._wait(self.asynchronous.outcome(id), timeout)

    def handle(self, id: str) -> SyncHandle:
        """Return the handle of a saga that was started before. See ``AsyncNode.handle``."""
        return SyncHandle(self._wait(self.asynchronous.handle(id)).id, self)

    def cancel(self, id: str, *, because: str, by: str = "operator") -> bool:
        """Undo a saga; return False when it is too late. See ``AsyncNode.cancel``."""
        return self._wait(self.asynchronous.cancel(id, because=because, by=by))

    def signal(self, id: str, name: str, value: Any = None, *, by: str = "operator") -> bool:
        """Send a saga a named value. See ``AsyncNode.signal``."""
        return self._wait(self.asynchronous.signal(id, name, value, by=by))

    def retry(self, id: str, *, because: str, by: str = "operator") -> bool:
        """Set a stuck or parked saga going again. See ``AsyncNode.retry``."""
        return self._wait(self.asynchronous.retry(id, because=because, by=by))

    # ── Looking ─────────────────────────────────────────────────────────────────────────────

    def history(self, id: str) -> list[Recorded]:
        """Return everything that happened to a transaction, oldest first: its audit trail."""
        return self._wait(self.asynchronous.history(id))

    def explain(self, id: str) -> Explanation:
        """Say in sentences what happened, what it waits for, since when, and what you can do."""
        return self._wait(self.asynchronous.explain(id))

    def transactions(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        is_open: bool | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Head]:
        """Return transactions, newest first. See ``AsyncNode.transactions``."""
        return self._wait(
            self.asynchronous.transactions(
                status=status, kind=kind, is_open=is_open, before=before, limit=limit
            )
        )

    def nodes(self) -> list[NodeRow]:
        """Return the nodes that have joined, newest first."""
        return self._wait(self.asynchronous.nodes())

    def undriven(self, *, limit: int = 1_000) -> list[Head]:
        """Return open transactions that no live node can drive: nothing is stranded in silence."""
        return self._wait(self.asynchronous.undriven(limit=limit))

    def health(self) -> Health:
        """Return how this node and its stores are, for a health page or an alarm."""
        return self._wait(self.asynchronous.health())

    # ── Local transactions ──────────────────────────────────────────────────────────────────

    def run(self, function: Callable[[SyncTx], T], *, at: str | None = None) -> T:
        """Run *function* whole in one local transaction; durable when it returns.

        It runs on the store's own thread, so it must not call this node. See ``AsyncNode.run``.
        """
        return self._wait(self.asynchronous.run(function, at=at))

    def query(self, sql: str, *parameters: Any, at: str | None = None) -> list[tuple[Any, ...]]:
        """Read what is committed, outside of any transaction."""
        return self._wait(self.asynchronous.query(sql, *parameters, at=at))

    @contextmanager
    def transaction(
        self,
        *,
        at: str | None = None,
        deadline: timedelta | None = None,
        protocol: CommitProtocol = TWO_PHASE,
    ) -> Iterator[BlockTx]:
        """Open a transaction: ``with node.transaction() as tx``. See ``AsyncNode.transaction``.

        Committed and durable when the block ends; nothing of it remains when the block raises, also
        at a Ctrl-C. From its first statement on it holds the store's write turn.

        Args:
            deadline: How long it may take until it is decided. The block itself is not interrupted.
            protocol: ``THREE_PHASE`` for services that run an agent, and nothing else.
        """
        scope = self.asynchronous._block(at, deadline, is_interrupted=False, protocol=protocol)
        settings = self.asynchronous.settings
        with settings.tracing.transaction(settings.url_at(at)) as span:  # In the caller's own thread.
            tx = self._wait(scope.__aenter__())
            span.identify(tx.id)
            try:
                yield BlockTx(tx, self._wait)
            except BaseException as error:
                self._wait(scope.__aexit__(type(error), error, error.__traceback__))
                raise
            self._wait(scope.__aexit__(None, None, None))

    def outbox(self, *, at: str | None = None) -> SyncOutbox:
        """Return the outbox of a store, to look at it and to send again what is in it."""
        return SyncOutbox(self._wait(self.asynchronous.outbox(at=at)), self._wait)

    def decision(self, id: str) -> Decision:
        """Return how a transaction block ended, by its ``tx.id``. See ``AsyncNode.decision``."""
        return self._wait(self.asynchronous.decision(id))

    def in_doubt(self, *, older_than: timedelta = timedelta(0)) -> list[Doubt]:
        """Return the branches that are prepared and not finished, at all participants of this node."""
        return self._wait(self.asynchronous.in_doubt(older_than=older_than))

    def resolve(self, id: str, decision: Decision, *, because: str, by: str = "operator") -> bool:
        """Decide for a transaction in doubt. See ``AsyncNode.resolve``."""
        return self._wait(self.asynchronous.resolve(id, decision, because=because, by=by))


def open(
    url: str,
    *,
    sagas: Iterable[type[Any]] = (),
    stores: Mapping[str, str] | None = None,
    participants: Iterable[Participant[Branch]] = (),
    reservations: Iterable[type[Reservation[Any]]] = (),
    reactions: Iterable[Reaction[..., Any]] = (),
    choreographies: Iterable[Choreography] = (),
    projections: Iterable[Projection[..., Any]] = (),
    broker: str | Broker | None = None,
    schemas: str = "",
    outbox_kept: timedelta = timedelta(seconds=OUTBOX_KEPT_SECONDS),
    inbox_kept: timedelta = timedelta(seconds=INBOX_KEPT_SECONDS),
    secret_key: str | None = None,
    in_flight_max: int = IN_FLIGHT_MAX,
    lease: timedelta = timedelta(seconds=LEASE_SECONDS),
    is_observer: bool = False,
    tracing: bool | Tracing = False,
    environment: Environment | None = None,
) -> Node:
    """Return an open node with a synchronous face. See ``open_async`` for the settings.

    Raises:
        Unavailable: A store cannot be opened; nothing is left behind, so it may be tried again.
        SchemaMismatch: The store was written by a newer version of Finality.
        DefinitionError: The URL or a saga is not usable.
    """
    return Node(
        open_async(
            url,
            sagas=sagas,
            stores=stores,
            participants=participants,
            reservations=reservations,
            reactions=reactions,
            choreographies=choreographies,
            projections=projections,
            broker=broker,
            schemas=schemas,
            outbox_kept=outbox_kept,
            inbox_kept=inbox_kept,
            secret_key=secret_key,
            in_flight_max=in_flight_max,
            lease=lease,
            is_observer=is_observer,
            tracing=tracing,
            environment=environment,
        )
    )

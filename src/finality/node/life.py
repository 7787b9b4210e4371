"""The life of a node in its process: it opens once, serves, drains and closes."""

from __future__ import annotations

import asyncio
from typing import Self

from finality.adapters.system.end_signals import heard
from finality.core.errors import Unavailable
from finality.core.ids import TransactionId, uuid7
from finality.node.insides import Insides, Settings, open_insides
from finality.node.views import Views
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.runtime.context import Context
from finality.runtime.coordinator import Coordinator
from finality.runtime.projection import ProjectionCode
from finality.runtime.reaction import ReactionCode

DRAIN_SECONDS = 10.0  # What orchestrators usually grant between SIGTERM and SIGKILL is 30.


class Life:
    """What a node does before it is asked anything, and after."""

    def __init__(self, settings: Settings, codec: Codec, environment: Environment) -> None:
        self.settings = settings
        self._codec = codec
        self._environment = environment
        self._opening: asyncio.Task[Insides] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._is_open = False
        self._is_closed = False
        self._has_opened = False
        self._declared = [reaction.code for reaction in settings.reactions]
        self._projected = [projection.code for projection in settings.projections]
        # What there is once it is open.
        self._insides: Insides
        self._context: Context
        self._coordinator: Coordinator
        self._views: Views

    async def __aenter__(self) -> Self:
        await self.opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def opened(self) -> Context:
        """Open the stores and start the loops, once; return the node's insides.

        What was opened is closed again if the rest cannot be, and the next call tries anew.

        Raises:
            Unavailable: A store is out of reach, or the node was closed.
            SchemaMismatch: The store was written by a newer version of Finality.
            DefinitionError: A saga's declaration cannot keep its promise.
            NotFound: A saga works in a store that was not given.
        """
        if self._is_closed:
            raise Unavailable("the node is closed: open a new one")
        if self._opening is None:
            self._opening = asyncio.ensure_future(
                open_insides(self.settings, self._declared, self._projected, self._codec, self._environment)
            )
        opening = self._opening
        if opening.get_loop() is not asyncio.get_running_loop():
            raise Unavailable(
                "the node is in use by another event loop: open one in each loop, or use finality.open(), "
                "which any thread may call"
            )
        try:
            insides = await asyncio.shield(opening)
        except BaseException:
            if opening.done() and self._opening is opening:
                self._opening = None
            raise
        self._insides, self._context = insides, insides.context
        self._coordinator, self._views = insides.coordinator, insides.views
        self._is_open = not self._is_closed
        self._has_opened = True
        insides.reactions.start()
        insides.projections.start()
        return insides.context

    def _new_id(self) -> TransactionId:
        environment = self._environment
        return TransactionId(uuid7(int(environment.now() * 1000), environment.random_bits(74)))

    def _add_reaction(self, code: ReactionCode) -> None:
        """Take up a reaction; it begins with the next call, so that others can be declared beside it."""
        if self._has_opened:
            self._insides.reactions.add(code)
            self._is_open = False
        self._declared.append(code)

    def _add_projection(self, code: ProjectionCode) -> None:
        """Take up a projection; it begins with the next call."""
        if self._has_opened:
            self._insides.projections.add(code)
            self._is_open = False
        self._projected.append(code)

    async def close(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Let the steps under way finish, hand over the rest at once and close the stores.

        No new step begins. A step that has not ended after *drain_seconds* is left behind: another
        node asks it again. So it is bounded, also when a step hangs. Closing twice does nothing.
        """
        if self._closing is None:
            self._is_closed, self._is_open = True, False
            self._closing = asyncio.ensure_future(self._close(drain_seconds))
        await asyncio.shield(self._closing)

    async def _close(self, drain_seconds: float) -> None:
        if self._opening is None:
            return
        try:
            insides = await asyncio.shield(self._opening)
        except Exception:
            return  # Whoever opened it has heard why, and nothing is open.
        await insides.close(drain_seconds)

    async def serve(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Drive sagas until the process is asked to end, then drain and close: the life of a node's process.

        SIGTERM, Ctrl-C and a closed terminal ask it. Call it in the main thread.
        Cancelling it drains and closes as well.
        """
        await self.opened()
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        try:
            with heard(lambda number: loop.call_soon_threadsafe(stopped.set)):
                await stopped.wait()
        finally:
            await self.close(drain_seconds=drain_seconds)

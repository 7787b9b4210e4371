"""What a node has to do with events: reactions are declared at it, and it looks after what is parked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from finality.core.backoff import Retry
from finality.node.inbox import Inbox
from finality.node.insides import Insides
from finality.node.life import Life
from finality.node.outbox import Outbox
from finality.patterns.reaction import CONCURRENCY, LATER, REACTION_RETRY, Declare, P, R, Reaction, react


class Reacting(Life):
    """Adds reactions, outbox and inbox to a node's life."""

    def react(
        self,
        topic: str,
        *,
        by: str,
        publish: str | None = None,
        retry: Retry = REACTION_RETRY,
        later: Retry = LATER,
        timeout: timedelta | None = None,
        concurrency: int = CONCURRENCY,
        at: str | None = None,
        undoes: Reaction[..., Any] | None = None,
        unless: Reaction[..., Any] | None = None,
        retry_topic: str | None = None,
        dead_letters: str | None = None,
        depth: int = 1,
    ) -> Declare:
        """Declare a reaction of this node: ``finality.react``, and the node was opened with it.

        At a node that is open already it begins with the node's next call.

        Raises:
            DefinitionError: The declaration cannot keep its promise, or its consumer has begun.
        """
        declare = react(
            topic, by=by, publish=publish, retry=retry, later=later, timeout=timeout, concurrency=concurrency,
            at=at, undoes=undoes, unless=unless, retry_topic=retry_topic, dead_letters=dead_letters,
            depth=depth + 1,
        )  # fmt: skip

        def added(function: Callable[P, R], /) -> Reaction[P, R]:
            reaction = declare(function)
            self._add_reaction(reaction.code)
            return reaction

        return added

    async def outbox(self, *, at: str | None = None) -> Outbox:
        """Return the outbox of a store, to look at it and to send again what is in it."""
        context = await self.opened()
        return Outbox(context, at)

    @property
    def inbox(self) -> Inbox:
        """Return what can be asked about events that were put aside."""

        async def insides() -> Insides:
            await self.opened()
            return self._insides

        return Inbox(insides)

"""What the loops of a node need of the notation: the ``tx`` of a reaction or projection, and its events."""

from __future__ import annotations

from typing import Any

from finality.core.envelope import Envelope
from finality.patterns.outbox import Origin, published
from finality.patterns.projection import ProjectionSyncTx, ProjectionTx, TableNames
from finality.patterns.transaction import SyncTx, Tx
from finality.ports.events import Published
from finality.runtime.context import Context
from finality.runtime.inbox import run_of
from finality.runtime.projecting import ProjectionKit
from finality.runtime.reacting import Kit
from finality.runtime.reaction import ReactionCode


def kit_of(context: Context) -> Kit:
    """Return what reactions need: transactions whose events follow from the one that was delivered."""
    codec = context.codec

    def published_(code: ReactionCode, event: Envelope, answer: Any) -> Published:
        reply = code.reply(event)
        if reply is not None:  # A key of its own: an answer that is put aside holds up no other.
            return published(codec, reply.topic, answer, key=run_of(event), origin=_origin(event))
        return published(codec, code.publish, answer, key=event.key, origin=_origin(event))

    return Kit(
        context,
        turn_tx=lambda local, event: SyncTx(local, codec, None, _origin(event)),
        scope_tx=lambda scope, event: Tx(scope, codec, None, None, _origin(event)),
        published=published_,
    )


def projection_kit_of(context: Context) -> ProjectionKit:
    """Return what projections need: transactions that know what their tables are called."""
    codec = context.codec
    return ProjectionKit(
        context,
        named=TableNames,
        turn_tx=lambda local, names: ProjectionSyncTx(local, codec, names),
        scope_tx=lambda scope, names: ProjectionTx(scope, codec, names),
    )


def _origin(event: Envelope) -> Origin:
    return Origin(run_of(event), event.id, event.traceparent)

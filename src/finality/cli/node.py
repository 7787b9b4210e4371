"""`finality node`: the processes that share a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from finality.cli import output
from finality.cli.group import Group
from finality.cli.options import json_option, look, store_option

if TYPE_CHECKING:
    from finality.node import AsyncNode
    from finality.ports.home import NodeRow

LIST_LIMIT = 50


@click.group(cls=Group)
def node() -> None:
    """Show the nodes: the processes that share a store and drive its transactions."""


@node.command("list")
@store_option
@click.option("--limit", type=click.IntRange(1), default=LIST_LIMIT, show_default=True, help="How many.")
@json_option
def list_(store: str, limit: int, as_json: bool) -> None:
    """List the nodes, newest first: alive, left (it closed), or dead (its lease has run out)."""

    async def read(node: AsyncNode) -> list[NodeRow]:
        return await node.nodes()

    nodes = look(store, read)
    now = time.time()
    shown = nodes[:limit]
    if as_json:
        output.say_json(
            [
                {
                    "id": row.id,
                    "state": state_of(row, now),
                    "host": row.host,
                    "process": row.process,
                    "drives": sorted(row.drives),
                    "joined_at": output.instant(row.joined_at),
                    "lease_until": output.instant(row.lease_until) if row.lease_until else None,
                }
                for row in shown
            ]
        )
        return
    rows = [
        (
            row.id,
            state_of(row, now),
            row.host,
            str(row.process),
            output.moment(row.joined_at),
            ", ".join(sorted(row.drives)),
        )
        for row in shown
    ]
    output.table(("ID", "STATE", "HOST", "PROCESS", "JOINED", "DRIVES"), rows, status=1)
    if not shown:
        output.note("no node has joined yet")
    elif len(nodes) > limit:
        output.note(f"… the newest {limit}; --limit shows more")


def state_of(row: NodeRow, now: float) -> str:
    """Return whether a node is alive, has left, or is dead."""
    if row.lease_until == 0:
        return "left"
    return "alive" if row.lease_until > now else "dead"

"""`finality transaction`: list, show and explain transactions, and help those that need a person."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from finality.cli import output, status
from finality.cli.group import Group
from finality.cli.options import (
    by_option,
    json_option,
    look,
    participant_option,
    reason_options,
    store_option,
)

if TYPE_CHECKING:
    from finality.node import AsyncNode
    from finality.ports.home import Head, NodeRow
    from finality.runtime.recovery import Doubt

STATUSES = (
    "running", "waiting", "compensating", "stuck", "parked", "completed", "compensated",
    "committing", "aborting", "committed", "aborted", "answered", "refused", "expired",
)  # fmt: skip
LIST_LIMIT = 50
PAGE = 1_000


@click.group(cls=Group)
def transaction() -> None:
    """List, show and explain transactions; help those that need a person."""


# ── list ────────────────────────────────────────────────────────────────────────────────────


@transaction.command("list")
@store_option
@click.option("--status", type=click.Choice(STATUSES), help="Only those with this status.")
@click.option("--kind", metavar="SAGA", help="Only those of this saga, by the name of its class.")
@click.option("--open/--ended", "is_open", default=None, help="Only those that are open, or have ended.")
@click.option("--limit", type=click.IntRange(1), default=LIST_LIMIT, show_default=True, help="How many.")
@json_option
def list_(
    store: str, status: str | None, kind: str | None, is_open: bool | None, limit: int, as_json: bool
) -> None:
    """List transactions, newest first.

    The column NODE says which node drives an open one: "none yet" while its node is dead and another
    is about to take it over, "none can" when no live node has its saga in its version.
    """

    async def read(node: AsyncNode) -> tuple[list[Head], list[NodeRow]]:
        heads: list[Head] = []
        while len(heads) < limit + 1:
            before = heads[-1].key if heads else None
            some = min(PAGE, limit + 1 - len(heads))
            page = await node.transactions(
                status=status, kind=kind, is_open=is_open, before=before, limit=some
            )
            heads += page
            if len(page) < some:
                break
        return heads, await node.nodes()

    heads, nodes = look(store, read)
    cluster = Cluster(nodes)
    shown = heads[:limit]
    if as_json:
        output.say_json([as_data(head, cluster) for head in shown])
        return
    rows = [
        (
            head.id,
            head.kind,
            head.status,
            cluster.driver(head),
            output.moment(head.started_at),
            cluster.note(head),
        )
        for head in shown
    ]
    output.table(("ID", "SAGA", "STATUS", "NODE", "STARTED", "NOTE"), rows, status=2)
    if not shown:
        output.note("no transaction" + (" is like that" if status or kind or is_open is not None else " yet"))
    elif len(heads) > limit:
        output.note(f"… the newest {limit}; --limit shows more")


class Cluster:
    """Which nodes are alive, and so who can drive what."""

    def __init__(self, nodes: list[NodeRow]) -> None:
        now = time.time()
        self.alive = {row.id for row in nodes if row.lease_until > now}
        self._drives = frozenset[str]().union(*(row.drives for row in nodes if row.lease_until > now))

    def can_drive(self, head: Head) -> bool:
        """Say whether some live node can."""
        return f"{head.kind}@{head.definition}" in self._drives and not head.note

    def driver(self, head: Head) -> str:
        """Return the node that drives an open transaction, and say when there is none."""
        if head.has_ended:
            return "-"
        if head.driver in self.alive:
            return str(head.driver)
        return "none yet" if self.can_drive(head) else "none can"

    def note(self, head: Head) -> str:
        """Return what there is to know of it."""
        if head.has_ended or self.can_drive(head):
            return ""
        from finality.node.views import why_undriven

        return head.note or why_undriven(head, ()) or ""


def as_data(head: Head, cluster: Cluster) -> dict[str, Any]:
    """Return a head for programs."""
    is_driven = not head.has_ended and head.driver in cluster.alive
    return {
        "id": head.id,
        "saga": head.kind,
        "version": head.definition,
        "status": head.status,
        "is_open": not head.has_ended,
        "node": head.driver if is_driven else None,
        "can_be_driven": None if head.has_ended else cluster.can_drive(head),
        "note": cluster.note(head) or None,
        "started_at": output.instant(head.started_at),
        "updated_at": output.instant(head.updated_at),
    }


# ── show and explain ────────────────────────────────────────────────────────────────────────


@transaction.command()
@click.argument("id")
@store_option
@json_option
def show(id: str, store: str, as_json: bool) -> None:
    """Show everything that happened to a transaction.

    Each event is shown with its time, who brought it about, the attempt and the reason.
    Secrets are shown as ***.
    """
    from finality.cli.timeline import Shown, say_shown, shown_data
    from finality.node import looking

    async def read(node: AsyncNode) -> Shown:
        head = await looking.find(node, id)
        return Shown(
            head,
            Cluster(await node.nodes()),
            await looking.history(node, head),
            await looking.children(node, head),
            await looking.parent(node, head),
        )

    shown = look(store, read)
    if as_json:
        output.say_json(shown_data(shown))
    else:
        say_shown(shown)


@transaction.command()
@click.argument("id")
@store_option
@participant_option
@json_option
def explain(id: str, store: str, participants: dict[str, str], as_json: bool) -> None:
    """Say in sentences what happened and what to do.

    It tells what the transaction waits for, since when, and what you can do, with the exact command. With
    --participant it also asks what the branches in doubt hold.
    """
    from finality.node import looking

    async def read(node: AsyncNode) -> Any:
        if not participants:  # With them it may be known to nobody else: in doubt, and not decided.
            await looking.find(node, id)
        return await node.explain(id)

    explanation = look(store, read, participants)
    if as_json:
        names = ("headline", "happened", "waits_for", "you_can")
        output.say_json({"id": id, **{name: getattr(explanation, name) for name in names}})
        return
    output.say(output.plain(str(explanation)))


# ── in-doubt and resolve ────────────────────────────────────────────────────────────────────


@transaction.command("in-doubt")
@store_option
@participant_option
@json_option
def in_doubt(store: str, participants: dict[str, str], as_json: bool) -> int:
    """List the branches that participants hold prepared, and wait for a decision.

    A node finishes them by itself; what stays for minutes needs a look.
    """
    if not participants:
        raise click.UsageError("name the participants to ask: --participant bank=postgresql://…")

    async def read(node: AsyncNode) -> tuple[list[Doubt], dict[str, str]]:
        return await node.in_doubt(), node.unreachable

    doubts, unreachable = look(store, read, participants)
    now = time.time()
    if as_json:
        output.say_json(
            {
                "in_doubt": [
                    {
                        "transaction": doubt.found.branch.transaction,
                        "branch": doubt.found.branch.name,
                        "since": output.instant(doubt.since),
                        "holds": doubt.found.holds,
                        "is_foreign": doubt.is_foreign,
                    }
                    for doubt in doubts
                ],
                "unreachable": unreachable,
            }
        )
    else:
        rows = [
            (
                doubt.found.branch.transaction,
                doubt.found.branch.name,
                output.span(now - doubt.since),
                doubt.found.holds,
                f"belongs to home {doubt.found.branch.home}" if doubt.is_foreign else "",
            )
            for doubt in doubts
        ]
        output.table(("TRANSACTION", "BRANCH", "FOR", "HOLDS", "NOTE"), rows)
        if not doubts:
            output.note("no branch is in doubt" + (" where one could ask" if unreachable else ""))
    for name, why in unreachable.items():
        output.note(f"{name} could not be asked: {why}")
    return status.FAILED if unreachable else status.OK


@transaction.command()
@click.argument("id")
@click.argument("decision", type=click.Choice(["commit", "abort"]))
@store_option
@participant_option
@reason_options
@json_option
def resolve(
    id: str, decision: str, store: str, participants: dict[str, str], because: str, by: str, as_json: bool
) -> None:
    """Decide for a transaction in doubt, or accept one that was finished by hand.

    For a transaction that nobody has decided, name its --participant: DECISION holds for ever then.
    For one whose branches have done different things, repeat what was decided once the data is right.
    """
    from finality.core.two_phase import Decision

    async def ask(node: AsyncNode) -> bool:
        return await node.resolve(id, Decision(decision), because=because, by=by)

    if not look(store, ask, participants):
        raise click.ClickException(
            f"{id} needs nobody to resolve it; `finality transaction explain {id}` says what it does"
        )
    if as_json:
        output.say_json({"id": id, "decision": decision})
    else:
        output.say(f"{id} is resolved: {decision}")


# ── retry, cancel and signal ────────────────────────────────────────────────────────────────


@transaction.command()
@click.argument("id")
@store_option
@reason_options
@json_option
def retry(id: str, store: str, because: str, by: str, as_json: bool) -> None:
    """Let a stuck or parked transaction go on.

    Do it once what was wrong is put right; `explain` says what that is.
    """

    async def ask(node: AsyncNode) -> tuple[bool, Head, Cluster]:
        head = await _found(node, id)
        return await node.retry(id, because=because, by=by), head, Cluster(await node.nodes())

    is_done, head, cluster = look(store, ask)
    if not is_done:
        raise click.ClickException(
            f"{id} cannot be retried: it is {head.status}, neither stuck nor parked; "
            f"`finality transaction explain {id}` says what it does"
        )
    _say_next(f"{id} goes on", head, cluster, as_json=as_json)


@transaction.command()
@click.argument("id")
@store_option
@reason_options
@json_option
def cancel(id: str, store: str, because: str, by: str, as_json: bool) -> None:
    """Have a transaction undone: compensate what it did."""

    async def ask(node: AsyncNode) -> tuple[bool, Head, Cluster]:
        head = await _found(node, id)
        return await node.cancel(id, because=because, by=by), head, Cluster(await node.nodes())

    is_done, head, cluster = look(store, ask)
    if not is_done:
        why = f"it is {head.status}"
        if not head.has_ended and head.status != "compensating":
            why += " and past its point of no return"
        raise click.ClickException(
            f"{id} cannot be cancelled: {why}; `finality transaction explain {id}` says more"
        )
    _say_next(f"{id} is undone", head, cluster, as_json=as_json)


@transaction.command()
@click.argument("id")
@click.argument("name")
@click.argument("value", default="null")
@store_option
@by_option
@json_option
def signal(id: str, name: str, value: str, store: str, by: str, as_json: bool) -> None:
    """Send a transaction the signal NAME with a VALUE.

    VALUE is JSON: true, 42, '"a text"'; without it the signal carries null.
    """
    try:
        decoded = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is not JSON ({error}); write a text as '\"{value}\"', with the quotes",
            param_hint="VALUE",
        ) from None

    async def ask(node: AsyncNode) -> tuple[bool, Head, Cluster]:
        head = await _found(node, id)
        return await node.signal(id, name, decoded, by=by), head, Cluster(await node.nodes())

    is_done, head, cluster = look(store, ask)
    if not is_done:
        why = (
            f"it is {head.status}"
            if head.has_ended
            else "it has that signal already, and the first one counts"
        )
        raise click.ClickException(f"{id} did not take the signal {name!r}: {why}")
    _say_next(f"{id} has the signal {name!r}", head, cluster, as_json=as_json)


async def _found(node: AsyncNode, id: str) -> Head:
    from finality.node import looking

    return await looking.find(node, id)


def _say_next(what: str, head: Head, cluster: Cluster, *, as_json: bool) -> None:
    is_driven = head.driver in cluster.alive
    if as_json:
        node = head.driver if is_driven else None
        output.say_json({"id": head.id, "node": node, "can_be_driven": is_driven or cluster.can_drive(head)})
    elif is_driven:
        output.say(f"{what}: node {head.driver} drives it")
    elif cluster.can_drive(head):
        output.say(f"{what} as soon as a node takes it over")
    else:
        output.say(
            f"{what} as soon as there is a node that can drive {head.kind}@{head.definition}; none is alive"
        )

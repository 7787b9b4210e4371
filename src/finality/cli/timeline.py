"""How `finality transaction show` shows one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finality.cli import output

if TYPE_CHECKING:
    from finality.cli.transaction import Cluster
    from finality.node.looking import Entry
    from finality.ports.home import Head

NOT_TOLD = frozenset({"step", "attempt", "saga", "version", "parent", "parent_step", "reason"})
TIMES = frozenset({"since", "retry_at", "until", "deadline"})


@dataclass(frozen=True, slots=True)
class Shown:
    """A transaction and what belongs to it."""

    head: Head
    cluster: Cluster
    history: list[Entry]
    children: list[Head]
    parent: Head | None


def say_shown(shown: Shown) -> None:
    """Print it for a person."""
    head = shown.head
    for name, value in _header(shown):
        colour = output.OF_STATUS.get(value) if name == "status" else None
        output.say(f"{output.paint(f'{name:<9}', 'dim')}{output.paint(output.plain(value), colour)}")
    output.say()
    rows = [
        (
            output.moment(entry.at, precise=True),
            _words(entry),
            str(entry.fields.get("step") or ""),
            str(entry.fields.get("attempt") or ""),
            entry.by,
            why(entry),
        )
        for entry in shown.history
    ]
    output.table(("TIME", "EVENT", "STEP", "ATTEMPT", "BY", "WHAT AND WHY"), rows)
    if shown.children:
        output.say()
        below = [(child.id, child.kind, child.status) for child in shown.children]
        output.table(("CHILD", "SAGA", "STATUS"), below, status=2)
    if not head.has_ended:
        output.say()
        output.note(f"`finality transaction explain {head.id}` says what it waits for and what you can do")


def shown_data(shown: Shown) -> dict[str, Any]:
    """Return it for programs."""
    from finality.cli.transaction import as_data

    return {
        **as_data(shown.head, shown.cluster),
        "parent": shown.parent.id if shown.parent is not None else None,
        "children": [as_data(child, shown.cluster) for child in shown.children],
        "events": [entry_data(entry) for entry in shown.history],
    }


def entry_data(entry: Entry) -> dict[str, Any]:
    """Return an event for programs."""
    fields = {name: output.instant(value) if name in TIMES else value for name, value in entry.fields.items()}
    return {
        "position": entry.position,
        "stream": entry.stream,
        "version": entry.version,
        "at": output.instant(entry.at),
        "by": entry.by or None,
        "type": entry.type,
        "data": fields,
    }


def why(entry: Entry) -> str:
    """Return what an event says besides its step and attempt, in one line."""
    return "; ".join(_told(entry))


def _header(shown: Shown) -> Iterator[tuple[str, str]]:
    head = shown.head
    yield "id", head.id
    yield "saga", f"{head.kind}, version {head.definition}"
    yield "status", head.status
    if not head.has_ended:
        yield "node", shown.cluster.driver(head)
        if shown.cluster.note(head):
            yield "note", shown.cluster.note(head)
    yield "started", output.moment(head.started_at)
    verb = "ended" if head.has_ended else "updated"
    yield verb, f"{output.moment(head.updated_at)}, after {output.span(head.updated_at - head.started_at)}"
    if shown.parent is not None:
        yield "parent", f"{shown.parent.id} ({shown.parent.kind})"


def _words(entry: Entry) -> str:
    from finality.node.looking import words_of

    return words_of(entry.type)


def _told(entry: Entry) -> Iterator[str]:
    for name, value in entry.fields.items():
        if name in NOT_TOLD or value in ("", {}):
            continue
        if name == "because":
            yield " ".join(str(value).split())
        elif name in ("input", "result", "value"):
            yield json.dumps(value, ensure_ascii=False)
        elif name == "retry_at":
            yield "the last attempt" if value is None else f"again at {output.moment(value)}"
        elif name in TIMES:
            if value is not None:
                yield f"{name} {output.moment(value)}"
        elif value is not None:
            yield f"{name} {value if isinstance(value, str | int) else json.dumps(value)}"

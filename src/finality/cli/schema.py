"""`finality schema`: keep the schemas of events, and see that a change breaks nobody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from finality.cli import output, status
from finality.cli.group import Group
from finality.cli.importing import imported
from finality.cli.parameters import Source

if TYPE_CHECKING:
    from finality.node.schema_registry import Comparison, SchemaRegistry

FOLDER = click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
MODULES = click.argument("modules", metavar="MODULE...", type=Source(), nargs=-1, required=True)
COMPATIBILITY = click.option(
    "--compatibility",
    type=click.Choice(["full", "backward", "forward", "none"]),
    default="full",
    show_default=True,
    help="backward: this version reads older events. forward: older versions read its events.",
)


@click.group(cls=Group)
def schema() -> None:
    """Keep the JSON Schema of every event, one file each in DIR/TOPIC, and check changes against it.

    MODULE is a file, as shop/events.py, or a module, as shop.events, that declares reactions, or says
    what it publishes: PUBLISHES = {"orders": OrderPlaced}.
    """


@schema.command()
@FOLDER
@MODULES
@COMPATIBILITY
def write(folder: Path, modules: tuple[str, ...], compatibility: str) -> int:
    """Write the schemas of new and changed events; nothing if a change is not compatible."""
    registry, comparisons = _found(folder, modules, compatibility)
    clashes = _told_clashes(comparisons)
    if clashes:
        output.complain("nothing was written: change the events back, or write with --compatibility none")
        return status.FAILED
    written = registry.write(comparisons)
    for path in written:
        output.say(f"wrote {path}")
    output.say(f"{folder} holds the schemas of {len(comparisons)} events")
    return status.OK


@schema.command()
@FOLDER
@MODULES
@COMPATIBILITY
def check(folder: Path, modules: tuple[str, ...], compatibility: str) -> int:
    """See that DIR holds the schemas of all events as they are, or that they may follow what it holds."""
    from finality.node.schema_registry import State

    registry, comparisons = _found(folder, modules, compatibility)
    is_wrong = bool(_told_clashes(comparisons))
    for each in comparisons:
        path = registry.path(each.topic, each.event)
        if each.state is State.GONE:
            said = f"is in {path} and not in the program; delete that once no such event is on its way"
        elif each.state is State.NEW or (each.state is State.CHANGED and not each.clashes):
            said = f"is {each.state.value} and not in {path}; run `finality schema write` and commit the file"
        else:
            continue
        is_wrong = True
        output.say(f"{each.topic}/{each.event} {said}")
    if not is_wrong:
        output.say(f"{len(comparisons)} events are as {folder} has them")
    return status.FAILED if is_wrong else status.OK


def _found(
    folder: Path, modules: tuple[str, ...], compatibility: str
) -> tuple[SchemaRegistry, list[Comparison]]:
    from finality.core.compatibility import Compatibility
    from finality.node.catalog import catalog_of, events_of
    from finality.node.schema_registry import SchemaRegistry, schemas_of_events

    registry = SchemaRegistry(folder)
    schemas = schemas_of_events(events_of(catalog_of(map(imported, modules))))
    return registry, registry.comparisons(schemas, Compatibility(compatibility))


def _told_clashes(comparisons: list[Comparison]) -> int:
    """Say which changes are not compatible; return how many there are."""
    clashes = [f"{each.topic}/{each.event}: {why}" for each in comparisons for why in each.clashes]
    for clash in clashes:
        output.say(clash)
    return len(clashes)

"""`finality asyncapi`: describe a program's events for other tools."""

from __future__ import annotations

import json

import click

from finality.cli import output
from finality.cli.importing import imported
from finality.cli.parameters import Source


@click.command()
@click.argument("modules", metavar="MODULE...", type=Source(), nargs=-1, required=True)
@click.option("--title", metavar="NAME", help="The program's name; by default that of the first module.")
@click.option("--version", metavar="VERSION", default="1.0.0", show_default=True, help="The program's.")
def asyncapi(modules: tuple[str, ...], title: str | None, version: str) -> None:
    """Print the AsyncAPI 3.0 document of the events that MODULE publishes and reacts to, as JSON.

    MODULE is a file, as shop/events.py, or a module, as shop.events.
    """
    from finality.node.asyncapi import asyncapi_of
    from finality.node.catalog import catalog_of

    found = [imported(module) for module in modules]
    document = asyncapi_of(catalog_of(found), title=title or found[0].__name__, version=version)
    output.say(json.dumps(document, indent=2))

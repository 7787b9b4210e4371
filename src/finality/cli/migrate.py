"""`finality migrate`: bring a store's schema to this version, while nodes run."""

from __future__ import annotations

import asyncio

import click

from finality.cli import output
from finality.cli.options import store_option


@click.command()
@store_option
@click.option(
    "--post", is_flag=True, help="Take away, too, what only older code needs: once none of it runs any more."
)
def migrate(store: str, post: bool) -> None:
    """Bring a store's schema to the version that this program needs.

    Any number of processes may run it at once, beside nodes of this version and of the one before.
    """
    from finality.node.opening import migrate_store

    ran = asyncio.run(migrate_store(store, through_post=post))
    for script in ran:
        output.say(f"ran {script}")
    output.say(f"{store} is as this version needs it")

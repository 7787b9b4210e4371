"""`finality subject`: the persons that personal data is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from finality.cli import output
from finality.cli.group import Group
from finality.cli.options import json_option, look, reason_options, store_option

if TYPE_CHECKING:
    from finality.node import AsyncNode


@click.group(cls=Group)
def subject() -> None:
    """Forget a person that personal data is about."""


@subject.command()
@click.argument("subject")
@store_option
@reason_options
@json_option
def forget(subject: str, store: str, because: str, by: str, as_json: bool) -> None:
    """Delete the key of everything personal that is kept about SUBJECT, for ever.

    SUBJECT is what Personal(…, of=SUBJECT) names. Events, snapshots, the outbox and every copy of them
    show it as erased from now on, and nothing can bring it back.
    """
    from finality.core.errors import NotFound

    async def work(node: AsyncNode) -> bool:
        keys = await (await node.opened()).home.sources.subject_keys([subject])
        if subject not in keys:
            raise NotFound(
                f"nothing personal is kept of {subject!r} in {store}: check the name, which is what the code "
                "writes in Personal(…, of=…)"
            )
        if keys[subject] is None:
            return False
        await node.forget(subject, because=because, by=by)
        return True

    is_new = look(store, work)
    if as_json:
        output.say_json({"subject": subject, "status": "forgotten", "changed": is_new})
    else:
        output.say(f"{subject} is forgotten{'' if is_new else ', as before'}")

"""`finality doctor`: what is wrong with a store and its nodes, and what to do about it."""

from __future__ import annotations

import click

from finality.cli import output, status
from finality.cli.options import at_option, broker_option, json_option, participant_option, store_option


@click.command()
@store_option
@at_option
@participant_option
@broker_option
@json_option
def doctor(
    store: str, stores: dict[str, str], participants: dict[str, str], broker: str | None, as_json: bool
) -> int:
    """Find what is wrong with a store and its nodes, or soon will be, and say what to do.

    It changes nothing. The exit status is 1 when there is a problem.
    """
    import asyncio

    from finality.node.doctor import examine
    from finality.node.finding import Level

    findings = asyncio.run(examine(store, participants, broker, stores))
    has_problem = any(finding.level is Level.PROBLEM for finding in findings)
    if as_json:
        output.say_json(
            {
                "is_healthy": not has_problem,
                "findings": [
                    {
                        "check": finding.check,
                        "level": finding.level.value,
                        "found": finding.found,
                        "todo": finding.todo or None,
                    }
                    for finding in findings
                ],
            }
        )
        return status.FAILED if has_problem else status.OK
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        level = output.paint(f"{finding.level.value:<7}", output.OF_STATUS[finding.level.value])
        output.say(f"{level}  {finding.check:<{width}}  {output.plain(finding.found)}")
        if finding.todo:
            output.say(f"{'':7}  {'':{width}}  → {output.plain(finding.todo)}")
    return status.FAILED if has_problem else status.OK

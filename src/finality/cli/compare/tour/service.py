"""One service of the choreographed tour, in a process of its own: a node on a store of its own.

It lives until its standard input ends, which it does with whoever has started it, and says on each
line how many commits it has flushed so far.
"""

from __future__ import annotations

import asyncio
import sys

import finality
from finality.cli.compare.place import Files, place_at
from finality.cli.compare.tally import Tally
from finality.cli.compare.tour.choreography import SERVICES

READY = "ready"


async def serve(name: str, spec: str, broker: str) -> None:
    """React until nobody asks any more."""
    place, tally = place_at(spec), Tally()
    assert isinstance(place, Files), "each service has a file"
    node = finality.open_async(
        place.url(name), broker=broker, reactions=SERVICES[name], environment=tally.environment()
    )
    async with node:
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
        )
        print(READY, flush=True)
        while await lines.readline():
            print(tally.writes, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))

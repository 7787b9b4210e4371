"""One node of the demo's bank: a process that may be killed at any moment.

It takes orders from standard input, one JSON object a line, and says on standard output which
sagas it has started and which have ended. It closes when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import finality
from finality.cli.demo import bank
from finality.cli.demo.provider import LINE_BYTES_MAX, PaymentProvider

LEASE = timedelta(seconds=1)  # Short, so that one sees the others take over; the default is 10.


def say(**line: Any) -> None:
    """Tell the parent process something."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def execute(node: finality.AsyncNode, order: dict[str, Any]) -> None:
    """Start the saga that *order* asks for and wait for its end."""
    id, saga = order["id"], bank.SAGAS[order["saga"]](**order["input"])
    try:
        handle = await node.start(saga, id=id)
    except finality.FinalityError as error:
        say(failed=id, because=str(error))
        return
    say(started=id)
    try:
        outcome = await handle.outcome()
    except finality.Stuck as stuck:
        say(stuck=id, because=str(stuck))
    else:
        say(ended=id, status=outcome.status.value)


async def orders() -> asyncio.StreamReader:
    """Return standard input as a stream."""
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def serve(directory: Path, socket: Path) -> None:
    """Drive sagas until standard input ends."""
    bank.provider = PaymentProvider(socket)
    tasks = set()
    async with bank.open_bank(directory, lease=LEASE) as node:
        say(ready=True)
        async for line in await orders():
            task = asyncio.ensure_future(execute(node, json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))

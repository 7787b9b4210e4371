"""A line between a client and a server that can be cut at the worst moment.

```python
async with finality.testing.Proxy("127.0.0.1", server.port) as line:
    line.cut(b"COMMIT PREPARED", is_heard=True)   # the server does it, and the client never hears of it
    …                                             # talk to line.port instead of server.port
```
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Self

CHUNK_BYTES = 65_536
LOOPBACK = "127.0.0.1"


class Proxy:
    """Passes on what a TCP client and a server say to each other, until a word that it was told to cut at.

    Args:
        tls: With one, clients speak to it over an encrypted line, which ends here.

    Attributes:
        port: Where clients connect, on loopback.
        cuts: How many lines have been cut.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.cuts = 0
        self._to = (host, port)
        self._tls = tls
        self._word = b""
        self._is_heard = False
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()

    def cut(self, word: bytes, *, is_heard: bool) -> None:
        """Cut the next line on which a client says *word*, once; others pass on.

        Args:
            is_heard: The server hears it and answers, and only the answer is lost. Otherwise the
                server never hears it.
        """
        self._word = word
        self._is_heard = is_heard

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None, "the block was entered"
        self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.get_running_loop().create_task(self._pass_on(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)
        line.add_done_callback(lambda _: writer.close())  # It may be cancelled before it has begun.

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(*self._to)
        except OSError:  # The server is down, and so is the line.
            return
        is_deaf = asyncio.Event()  # The client hears nothing any more.
        talk = [
            asyncio.ensure_future(self._hear_client(client, to_server, is_deaf)),
            asyncio.ensure_future(self._hear_server(server, to_client, is_deaf)),
        ]
        try:
            await asyncio.wait(talk, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in talk:
                each.cancel()
            await asyncio.gather(*talk, return_exceptions=True)
            to_server.close()

    async def _hear_client(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, is_deaf: asyncio.Event
    ) -> None:
        while said := await client.read(CHUNK_BYTES):
            if self._word and self._word in said:
                self._word = b""
                self.cuts += 1
                if not self._is_heard:
                    return
                is_deaf.set()
            server.write(said)
            await server.drain()

    async def _hear_server(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, is_deaf: asyncio.Event
    ) -> None:
        while said := await server.read(CHUNK_BYTES):
            if is_deaf.is_set():
                return
            client.write(said)
            await client.drain()

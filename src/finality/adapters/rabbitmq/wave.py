"""Events that are sent together, and what the node says of each.

```
   a1 b1 c1 … ──frames──▶ pieces ──▶ node ──▶ ack, up to b1 ──▶ ack c1 ──▶ all heard
```

The client's own ``basic_publish`` makes a task, a lock and two futures of an event, and of a future four
callbacks: four times the work of what is here, in the same lists of the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel

from finality.adapters.rabbitmq.frames import frames_of
from finality.core.envelope import Envelope

PIECE_BYTES = 1 << 18  # So much is written at once; the events of a wave may be 500 times a mebibyte.

Placed = tuple[Envelope, int]
Piece = tuple[bytes, dict[int, Envelope]]


class Wave:
    """A wave.

    Attributes:
        answers: By the number of the event: None, it is stored, or why it is not; ValueError: it never is.
    """

    def __init__(self) -> None:
        self.answers: dict[int, BaseException | None] = {}
        self._count = 0
        self._heard: asyncio.Future[None]

    async def send(self, channel: Channel, going: Mapping[int, Placed]) -> None:
        """Send events, each with the partition that it goes to, and wait until the node has answered all.

        Raises:
            AMQPError: The channel was closed; of what is not in *answers* nobody knows.
        """
        self._count = len(going)
        self._heard = channel.create_future()  # The client fails it when the channel is closed.
        known = channel.message_id_delivery_tag  # By these it finds what the node returns.
        try:
            async with channel.lock:
                for payload, events in self._pieces(channel, going):
                    await channel.write_queue.put(ChannelFrame(payload, should_close=False))
                    # Now it is on its way, so it counts: the node numbers what it gets.
                    for number, event in events.items():
                        channel.delivery_tag += 1
                        confirmation: Any = Confirmation(self, number)
                        channel.confirmations[channel.delivery_tag] = confirmation
                        known[event.id] = channel.delivery_tag
            if going:
                await self._heard
        finally:
            for event, _ in going.values():
                known.pop(event.id, None)

    def _pieces(self, channel: Channel, going: Mapping[int, Placed]) -> Iterator[Piece]:
        frames: list[bytes] = []
        size, events = 0, dict[int, Envelope]()
        for number, (event, partition) in going.items():
            try:
                its = frames_of(
                    event, partition, channel=channel.number, piece_bytes=channel.max_content_size
                )
            except ValueError as problem:
                self.hear(number, problem)
                continue
            frames.append(its)
            size, events[number] = size + len(its), event
            if size >= PIECE_BYTES:
                yield b"".join(frames), events
                frames, size, events = [], 0, {}
        if events:
            yield b"".join(frames), events

    @property
    def is_heard(self) -> bool:
        """Say whether nobody waits any more."""
        return self._heard.done()

    @property
    def is_given_up(self) -> bool:
        """Say whether nobody has waited to the end."""
        return self._heard.cancelled()

    def hear(self, number: int, answer: BaseException | None) -> None:
        """Hear what became of an event."""
        self.answers[number] = answer
        if len(self.answers) == self._count and not self._heard.done():
            self._heard.set_result(None)


class Confirmation:
    """What the client tells of an event; it stands where the client expects a future."""

    __slots__ = ("_number", "_wave")

    def __init__(self, wave: Wave, number: int) -> None:
        self._wave, self._number = wave, number

    def done(self) -> bool:
        """Say whether nobody wants to hear it any more."""
        return self._wave.is_heard

    def cancelled(self) -> bool:
        """Say whether whoever wanted to hear it has given up."""
        return self._wave.is_given_up

    def set_result(self, _: object) -> None:
        """Hear that it is stored."""
        self._wave.hear(self._number, None)

    def set_exception(self, error: BaseException) -> None:
        """Hear why it is not."""
        self._wave.hear(self._number, error)

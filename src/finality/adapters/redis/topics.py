"""Topics, as a hash for each says what it is like."""

from __future__ import annotations

from typing import NamedTuple

from finality.adapters.redis.line import Line
from finality.adapters.redis.wire import topic_key
from finality.core.errors import NotFound


class Topic(NamedTuple):
    """What a topic is like; it never changes."""

    partitions: int
    keep_seconds: int


class Topics:
    """The topics that this connection knows."""

    def __init__(self, line: Line) -> None:
        self.known: dict[str, Topic] = {}
        self._line = line

    async def declare(self, topic: str, partitions: int, keep_seconds: int | None = None) -> Topic:
        """Make sure that a topic is there; return what it is like."""
        keep = self._line.address.keep_seconds if keep_seconds is None else keep_seconds
        with self._line.asking():
            async with self._line.client.pipeline(transaction=True) as both:
                both.hsetnx(topic_key(topic), "partitions", str(partitions))
                both.hsetnx(topic_key(topic), "keep", str(keep))
                await both.execute()
        return await self.find(topic)

    async def find(self, topic: str) -> Topic:
        """Return what a topic is like.

        Raises:
            NotFound: It was not declared.
        """
        if topic not in self.known:
            with self._line.asking():
                found = await self._line.client.hgetall(topic_key(topic))
            if not found:
                raise NotFound(f"{self._line.address.name} has no topic {topic!r}: declare it first")
            self.known[topic] = Topic(int(found[b"partitions"]), int(found[b"keep"]))
        return self.known[topic]

"""The link: a node's broker, connected as soon as it can be reached, and the topics it is known to have."""

from __future__ import annotations

import asyncio

from finality.ports.broker import Broker
from finality.ports.environment import Environment


class Link:
    """A node's one way to its broker; relays and reactions share it."""

    def __init__(self, broker: Broker, environment: Environment) -> None:
        self.name = broker.name
        self.broker = broker
        self._environment = environment
        self._topics: dict[str, int] = {}
        self._opening = asyncio.Lock()
        self._is_open = False

    async def opened(self) -> Broker:
        """Return the broker, connected.

        Raises:
            Unavailable: It is out of reach; ask again later.
        """
        if not self._is_open:
            async with self._opening:
                if not self._is_open:
                    await self.broker.open(self._environment)
                    self._is_open = True
        return self.broker

    async def declare(self, topic: str) -> int:
        """Make sure that a topic is there; return how many partitions it has.

        Raises:
            DefinitionError: It is no name for a topic.
            Unavailable: The broker is out of reach.
        """
        partitions = self._topics.get(topic)
        if partitions is None:
            partitions = await (await self.opened()).declare(topic)
            self._topics[topic] = partitions
        return partitions

    def forget(self, topic: str) -> None:
        """Declare a topic again before it is next published to: the broker may have lost it."""
        self._topics.pop(topic, None)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._is_open:
            await self.broker.close()

"""What a Kafka cluster says of its topics: asked once, and again when something is wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from finality.adapters.kafka.connection import Cluster, answered, said
from finality.core.errors import NotFound, Unavailable

BYTES_MAX = 1_048_588  # Of a batch: Kafka's own default, where the cluster does not tell.

WORD_SECONDS = 0.02  # Between two questions whether a new topic is known.

Settings = dict[str, str]


@dataclass(frozen=True, slots=True)
class Topic:
    """What publishing on a topic has to know.

    Attributes:
        bytes_max: Of a batch of records.
    """

    partitions: int
    bytes_max: int


class Topics:
    """The topics of a cluster, through the client of its administration."""

    def __init__(self, cluster: Cluster, admin: AIOKafkaAdminClient) -> None:
        self.admin = admin
        self._cluster = cluster
        self._known: dict[str, Topic] = {}

    async def find(self, name: str) -> Topic:
        """Return a topic.

        Raises:
            NotFound: It was not declared.
            Unavailable: The cluster is out of reach.
        """
        if name not in self._known:
            partitions = (await self.partitions([name])).get(name)
            if partitions is None:
                raise NotFound(f"{self._cluster.name} has no topic {name!r}: declare it first")
            settings = await self.settings(ConfigResourceType.TOPIC, name)
            bytes_max = int(settings.get("max.message.bytes") or BYTES_MAX)
            self._known[name] = Topic(len(partitions), bytes_max)
        return self._known[name]

    def forget(self, name: str) -> None:
        """Ask again when somebody wants to know."""
        self._known.pop(name, None)

    @property
    def known(self) -> list[str]:
        """Return the names of those that were asked for."""
        return sorted(self._known)

    async def declare(self, name: str, partitions: int) -> Topic:
        """Return a topic, made with so many partitions if it was not there."""
        with contextlib.suppress(NotFound):
            return await self.find(name)
        await self._make(name, partitions)
        async with answered(self._cluster.name, f"has not spread the word of topic {name!r}"):
            while True:  # Whoever answers next may not have heard of it.
                with contextlib.suppress(NotFound):
                    return await self.find(name)
                await asyncio.sleep(WORD_SECONDS)

    async def _make(self, name: str, partitions: int) -> None:
        replicas = self._cluster.replicas
        new = NewTopic(name, partitions, replicas, {} if replicas == -1 else None)
        if replicas > 2:  # One may be down, and what is stored is on more than one all the same.
            new.topic_configs["min.insync.replicas"] = str(replicas - 1)
        async with answered(self._cluster.name, f"did not make topic {name!r}"):
            response = await self.admin.create_topics([new])
        for _, code, *_ in response.topic_errors:
            error = for_code(code)
            if error is not TopicAlreadyExistsError and code:
                raise Unavailable(
                    f"{self._cluster.name} did not make topic {name!r}: {said(error())}; make it by hand"
                )

    async def partitions(self, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """Return what there is of these topics: of each its partitions, with their replicas."""
        async with answered(self._cluster.name, "did not list its topics"):
            # All of them: asked for one that is not there, a cluster may make it.
            listed = await self.admin.describe_topics()
        wanted = set(names)
        return {each["topic"]: each["partitions"] for each in listed if each["topic"] in wanted}

    async def settings(self, kind: ConfigResourceType, name: str) -> Settings:
        """Return the settings of a topic or of a broker; none where the cluster does not tell."""
        async with answered(self._cluster.name, f"did not tell the settings of {name!r}"):
            [response] = await self.admin.describe_configs([ConfigResource(kind, name)])
        return {
            entry[0]: entry[1]
            for _, _, _, _, entries in response.resources
            for entry in entries or ()
            if entry[1] is not None
        }

"""Topics as streams: made when they are declared, made again when a server has lost them."""

from __future__ import annotations

from nats.js import api
from nats.js.errors import BadRequestError, NotFoundError

from finality.adapters.nats.line import ERRORS, Line
from finality.adapters.nats.wire import stream_of, subject_of
from finality.core.errors import DefinitionError, NotFound, Unavailable

TOPIC = "finality.topic"  # The metadata of a stream that is ours.
NAME_IS_TAKEN = 10058  # Somebody else has made the stream at the same moment, otherwise.


class Topics:
    """The topics that this connection knows.

    Attributes:
        known: How many partitions each has.
    """

    def __init__(self, line: Line) -> None:
        self.known: dict[str, int] = {}
        self._line = line
        self._kept: dict[str, int] = {}

    async def declare(self, topic: str, partitions: int, keep_seconds: int | None = None) -> int:
        """Make sure that the stream of a topic is there; return how many partitions it has."""
        keep = self._line.address.keep_seconds if keep_seconds is None else keep_seconds
        self._kept[topic] = keep
        found = await self.find(topic)
        return found or await self._make(topic, partitions, keep)

    async def find(self, topic: str) -> int | None:
        """Return how many partitions a topic has, or None if it has no stream."""
        try:
            async with self._line.asking():
                info = await self._line.streams.stream_info(stream_of(topic))
        except Unavailable as error:
            if isinstance(error.__cause__, NotFoundError):
                return None
            raise
        subjects = info.config.subjects or []
        if set(subjects) != {subject_of(topic, n) for n in range(len(subjects))}:
            raise DefinitionError(
                f"topic {topic!r} is not ours: its stream {stream_of(topic)} has the subjects "
                f"{', '.join(subjects)}; give the topic another name"
            )
        self.known[topic] = len(subjects)
        return len(subjects)

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has.

        Raises:
            NotFound: It was not declared.
        """
        found = self.known.get(topic) or await self.find(topic)
        if found is None:
            raise NotFound(f"{self._line.address.name} has no topic {topic!r}: declare it first")
        return found

    async def declare_again(self, topic: str) -> None:
        """Make the stream anew if its server has lost it: with memory storage a restart does that."""
        partitions = self.known.get(topic)
        if partitions is not None and await self.find(topic) is None:
            await self._make(topic, partitions, self._kept.get(topic, self._line.address.keep_seconds))

    async def _make(self, topic: str, partitions: int, keep_seconds: int) -> int:
        address = self._line.address
        window = address.window_seconds
        config = api.StreamConfig(
            name=stream_of(topic),
            metadata={TOPIC: topic},
            subjects=[subject_of(topic, n) for n in range(partitions)],
            storage=api.StorageType(address.storage),
            num_replicas=address.replicas,
            max_age=keep_seconds,
            duplicate_window=min(window, keep_seconds) if keep_seconds else window,
            allow_direct=True,
            allow_atomic=True,
        )
        async with self._line.asking():
            try:
                await self._line.streams.add_stream(config)
            except BadRequestError as error:
                if error.err_code != NAME_IS_TAKEN:
                    raise
        found = await self.find(topic)
        if found is None:
            raise self._line.unavailable(ERRORS[0](f"the stream of topic {topic} has just gone"))
        return found

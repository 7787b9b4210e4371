"""What the promises of a Kafka cluster rest on."""

from __future__ import annotations

from collections.abc import Iterator

from aiokafka.admin.config_resource import ConfigResourceType

from finality.adapters.kafka.topics import Settings, Topics

RETENTION_SECONDS_MIN = 24 * 3_600  # A consumer may be away for a day, and a relay send again as long.
OFFSETS_SECONDS_MIN = 24 * 3_600  # Progress is committed again each hour.
NEVER = 2**63 - 1  # How Kafka writes it.

Finding = tuple[str, bool, str]


async def findings(settings: Settings, topics: Topics, *, is_idempotent: bool) -> list[Finding]:
    """Ask for the settings of the topics that were used, and judge them and the cluster's own."""
    if not settings:
        return [
            ("settings", False, "the cluster does not tell its settings, so nobody knows what is durable")
        ]
    found = [*_of_cluster(settings, is_idempotent=is_idempotent)]
    partitions = await topics.partitions(topics.known)
    for name in topics.known:
        replicas = min((len(each["replicas"]) for each in partitions.get(name, ())), default=0)
        its = await topics.settings(ConfigResourceType.TOPIC, name)
        found += [
            (f"{check} of {name}", is_good, told)
            for check, is_good, told in _of_topic(its, replicas)
            if not is_good
        ]
    return found


def _of_cluster(settings: Settings, *, is_idempotent: bool) -> Iterator[Finding]:
    replicas = int(settings.get("default.replication.factor") or 1)
    yield _durability(
        replicas,
        int(settings.get("min.insync.replicas") or 1),
        int(settings.get("log.flush.interval.messages") or NEVER),
    )
    yield _unclean(settings)
    yield _retention(_milliseconds(settings))
    yield _offsets(int(settings.get("offsets.retention.minutes") or 0) * 60)
    yield (
        "idempotence",
        is_idempotent,
        "batches sent twice are stored once" if is_idempotent else "the cluster has no idempotent producer",
    )


def _of_topic(settings: Settings, replicas: int) -> Iterator[Finding]:
    yield _durability(
        replicas,
        int(settings.get("min.insync.replicas") or 1),
        int(settings.get("flush.messages") or NEVER),
    )
    yield _unclean(settings)
    yield _retention(int(settings.get("retention.ms") or -1))
    policy = settings.get("cleanup.policy", "delete")
    yield (
        "cleanup",
        "compact" not in policy,
        f"cleanup.policy = {policy}; compaction drops events: use delete",
    )


def _durability(replicas: int, in_sync: int, flush: int) -> Finding:
    found = f"replication factor {replicas}, min.insync.replicas = {in_sync}"
    if in_sync > 1:
        return "durability", True, found
    if flush == 1:
        return "durability", True, f"{found}, and each batch is flushed"
    return (
        "durability",
        False,
        f"{found}, flush = {'never' if flush == NEVER else flush}: a computer that fails can lose what was "
        "acknowledged; have 3 replicas and min.insync.replicas = 2, or flush each batch",
    )


def _unclean(settings: Settings) -> Finding:
    value = settings.get("unclean.leader.election.enable", "false")
    if value == "false":
        return "unclean election", True, "unclean.leader.election.enable = false"
    found = f"unclean.leader.election.enable = {value}: a replica that has missed events may take over"
    return "unclean election", False, f"{found}, and they are lost; set it to false"


def _milliseconds(settings: Settings) -> int:
    """Return how long a cluster keeps events, by the finest of its three settings that is set."""
    for name, each in (("ms", 1), ("minutes", 60_000), ("hours", 3_600_000)):
        if value := settings.get(f"log.retention.{name}"):
            return int(value) * each
    return -1


def _retention(milliseconds: int) -> Finding:
    if milliseconds < 0:
        return "retention", True, "events are kept for ever"
    hours = milliseconds / 3_600_000
    if milliseconds >= RETENTION_SECONDS_MIN * 1_000:
        return "retention", True, f"events are kept for {hours:g} hours"
    found = f"events are kept for {hours:g} hours: a consumer that is away longer loses some"
    return "retention", False, f"{found}; keep them for a day or more"


def _offsets(seconds: int) -> Finding:
    found = f"progress is kept for {seconds / 3_600:g} hours"
    if seconds >= OFFSETS_SECONDS_MIN:
        return "progress", True, found
    return (
        "progress",
        False,
        f"{found}: a consumer that is away longer begins again; set offsets.retention.minutes",
    )

"""Names of topics and of their groups, such as every broker can carry."""

from __future__ import annotations

import re

from finality.core.errors import DefinitionError

TOPIC_CHARACTERS_MAX = 100  # Kafka takes 249, and groups, partitions and "parked" come behind it.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*")


def check_topic(name: str) -> str:
    """Return *name* if a topic can be called so.

    Raises:
        DefinitionError: It cannot.
    """
    return _checked("topic", name)


def check_group(name: str) -> str:
    """Return *name* if a group of consumers can be called so: as a topic.

    Raises:
        DefinitionError: It cannot.
    """
    return _checked("consumer", name)


def _checked(what: str, name: str) -> str:
    if NAME.fullmatch(name) and len(name) <= TOPIC_CHARACTERS_MAX:
        return name
    raise DefinitionError(
        f"{name!r} is no name for a {what}: not every broker could carry it; use up to "
        f"{TOPIC_CHARACTERS_MAX} letters, digits, - and _, with dots between"
    )

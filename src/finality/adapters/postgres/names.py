"""The short names of nodes and definitions, remembered: once committed, they never change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from finality.core.ids import NodeId


class Names:
    """What the writer's line has learned; it looks up what it does not know.

    Attributes:
        is_fresh: Some were learned in the turn that runs, and may be those of rows that it undoes.
    """

    def __init__(self, look: Callable[..., Sequence[Any]]) -> None:
        self.is_fresh = False
        self._look = look
        self._nodes: dict[NodeId, int] = {}
        self._definitions: dict[tuple[str, str], int] = {}

    def forget(self) -> None:
        """Hear that rows were undone, so that others may get their names."""
        self.is_fresh = False
        self._nodes.clear()
        self._definitions.clear()

    def node(self, id: NodeId) -> int:
        """Return the short name of a node that has joined."""
        if id not in self._nodes:
            found = self._look("node_key", id)
            assert found, f"node {id} has not joined"
            self._nodes[id] = int(found[0][0])
            self.is_fresh = True
        return self._nodes[id]

    def definition(self, kind: str, version: str) -> int:
        """Return the short name of a definition that is kept."""
        if (kind, version) not in self._definitions:
            self._look_up_definitions()
        assert (kind, version) in self._definitions, f"definition {kind}@{version} is not kept"
        return self._definitions[kind, version]

    def definitions(self, drives: frozenset[str]) -> list[int]:
        """Return the short names of those ``kind@version`` that are kept."""
        self._look_up_definitions()
        return [key for (kind, version), key in self._definitions.items() if f"{kind}@{version}" in drives]

    def _look_up_definitions(self) -> None:
        self.is_fresh = True
        self._definitions = {(kind, version): int(key) for key, kind, version in self._look("definitions")}

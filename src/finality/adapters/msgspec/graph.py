"""A saga's graph as JSON, for nodes that show and explain sagas whose class they do not have.

Its steps are written as they were checked, so that reading them checks nothing again.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from finality.core.ids import Json
from finality.core.saga import Graph, Step
from finality.ports.codec import DecodeError


@dataclass(frozen=True, slots=True)
class GraphText:
    """What is written of a ``Graph``."""

    saga: str
    version: str
    steps: tuple[Step, ...]
    deadline_seconds: float | None = None
    returns: str | None = None


_decoder = msgspec.json.Decoder(GraphText)


def graph_to_json(graph: Graph) -> Json:
    """Return *graph* as text; equal graphs have equal texts."""
    text = GraphText(graph.saga, graph.version, graph.steps, graph.deadline_seconds, graph.returns)
    return Json(msgspec.json.encode(text).decode())


def graph_from_json(text: Json) -> Graph:
    """Return the graph that *text* stands for.

    Raises:
        DecodeError: It is no graph.
    """
    try:
        found = _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise DecodeError(f"not a saga's graph: {error}") from error
    return Graph(found.saga, found.version, found.steps, found.deadline_seconds, found.returns)

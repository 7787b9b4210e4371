"""The composition root: the only place that knows every layer."""

from finality.node.async_node import AsyncNode
from finality.node.opening import open_async
from finality.node.sync_node import Node, open

__all__ = ["AsyncNode", "Node", "open", "open_async"]

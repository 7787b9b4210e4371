"""Requests without ``await``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar, cast

from finality.node.requesting import Requesting

A = TypeVar("A")


class SyncRequesting:
    """What a node does with requests."""

    asynchronous: Requesting
    _wait: Callable[[Coroutine[Any, Any, Any]], Any]

    def request(
        self,
        topic: str,
        question: Any,
        *,
        answer: type[A],
        within: timedelta,
        key: str = "",
        id: str | None = None,
    ) -> A:
        """Ask whoever reacts to *topic* and return the answer. See ``AsyncNode.request``."""
        asked = self.asynchronous.request(topic, question, answer=answer, within=within, key=key, id=id)
        return cast(A, self._wait(asked))

    def answer(self, id: str, answer: type[A]) -> A:
        """Wait for the answer to a request that was made before. See ``AsyncNode.answer``."""
        return cast(A, self._wait(self.asynchronous.answer(id, answer)))

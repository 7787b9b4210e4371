"""A planted bug: the inbox's witness is written in a transaction of its own, behind the effect's."""

from __future__ import annotations

from typing import Any

from finality.runtime import reacting
from finality.runtime.reacting import ReactTurn, SettleTurn

BETWEEN = "planted.between"  # The effect is durable, and its witness is not.


def plant() -> None:
    """Make the mistake in this process."""
    settled = ReactTurn.settle

    def settle(turn: ReactTurn, error: BaseException | None) -> None:
        if error is None:
            turn._kit.context.environment.reach(BETWEEN)
            turn._kit.context.home.submit(SettleTurn(turn._code.consumer, turn._arrived, is_home=True))
        settled(turn, error)

    def conclude(*_: Any, **__: Any) -> None:
        """Leave no witness in the commit of the effect."""

    vars(reacting)["conclude"] = conclude
    ReactTurn.settle = settle  # type: ignore[method-assign, assignment]  # that is the mistake

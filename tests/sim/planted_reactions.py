"""Known mistakes of an inbox, planted into ours: the simulation must catch every one of them.

python -m tests.sim.planted_reactions        prints the table of docs/internals/planted-bugs.md
"""

from __future__ import annotations

from typing import Any

from finality.ports.broker import Delivery
from finality.runtime import reacting
from finality.runtime.inbox import Verdict
from finality.runtime.lanes import Lanes
from finality.runtime.reacting import Reacting, SettleTurn
from tests.sim.planted_relay import Patch, print_table
from tests.sim.reactions import simulate


def witness_behind_the_commit(patch: Patch) -> None:
    """The witness of an event is written in a transaction of its own, behind the effect's."""
    real = Reacting.react

    async def react(self: Reacting, code: Any, arrived: Any) -> Any:
        verdicts = await real(self, code, arrived)
        ran = [each for each, verdict in zip(arrived, verdicts, strict=True) if verdict is Verdict.DONE]
        turn = SettleTurn(code.consumer, ran, is_home=code.store is None)
        self._kit.context.store_of(code.store).submit(turn)
        await turn.done
        return verdicts

    patch.setattr(reacting, "conclude", lambda *rest, **named: None)
    patch.setattr(Reacting, "react", react)


def acknowledged_before_the_commit(patch: Patch) -> None:
    """An event is acknowledged as soon as its reaction begins."""
    real = Lanes.put

    def put(self: Lanes, lane: Any, delivery: Delivery) -> None:
        real(self, lane, delivery)
        self._done([delivery])

    patch.setattr(Lanes, "put", put)


PLANTED = (
    witness_behind_the_commit,
    acknowledged_before_the_commit,
)


if __name__ == "__main__":
    print_table(PLANTED, simulate)

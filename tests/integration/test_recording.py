"""What branches have answered is recorded for several transactions at once, by several nodes."""

from __future__ import annotations

import asyncio

import finality
from finality.core.ids import TransactionId
from finality.core.two_phase import Decided, Decision, Finish
from finality.testing.participant import SimulatedParticipant


def test_what_another_node_has_recorded_keeps_no_record_from_the_others() -> None:
    """Records of several transactions are one turn of the store, and one of them may come too late."""

    async def main() -> None:
        bank = SimulatedParticipant("bank")
        async with finality.open_async("memory://recording", participants=[bank]) as node:
            await node._insides.recovery.stop()
            commitments = node._insides.commitments
            decided, finished = Decided(Decision.COMMIT, ("bank",)), [Finish("bank", Decision.COMMIT)]
            known = [await commitments.decisions.decide(TransactionId(id), decided) for id in ("t1", "t2")]
            await commitments.decisions.hear(known[0], finished)
            for each in known:
                commitments.recording.later(each, finished)
            assert commitments.drives(TransactionId("t2"))
            await commitments.recording.drain()

            assert [head.status for head in await node.transactions()] == ["committed", "committed"]
            assert not commitments.drives(TransactionId("t2"))

    asyncio.run(main())

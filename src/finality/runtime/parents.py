"""How a parent begins its children and sees what has become of them, while others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from finality.core.ids import TransactionId
from finality.core.saga import SagaState, replay
from finality.core.saga import events as e
from finality.ports.home import Head
from finality.runtime.answers import kept, reason
from finality.runtime.arguments import Unreadable, call
from finality.runtime.asking import Asking
from finality.runtime.children import StartChildTurn, heard_of_child
from finality.runtime.context import Context
from finality.runtime.drive import Drive

Command = e.AwaitChild | e.UndoChild
Place = tuple[Drive, str]


class Children:
    """Begins and sees children. A step is busy while its child is looked at."""

    def __init__(
        self,
        context: Context,
        asking: Asking,
        is_in_hand: Callable[[Drive], bool],
        signal: Callable[[Drive, e.SagaSignal, str], None],
        undo: Callable[[Drive, str, Head], None],
        *,
        begun: Callable[[Drive, BaseException | None], None],
        advance: Callable[[Drive], None],
        rest: Callable[[Drive], None],
        settled: Callable[[Drive, BaseException | None], None],
    ) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._asking = asking
        self._is_in_hand = is_in_hand
        self._begun = begun
        self._signal, self._undo = signal, undo
        self._advance, self._rest, self._settled = advance, rest, settled
        self._looks: dict[Place, asyncio.Task[None]] = {}
        self._again: set[Place] = set()

    def start(self, drive: Drive, step: str) -> None:
        """Begin the child that is a step."""
        if step in drive.busy or not self._asking.is_wanted(drive, step):
            return
        context = self._context
        try:
            child = call(drive.definition.codes[step].action, drive, drive.state, context.codec, step)
            definition = context.definition_of(type(child))
            input = kept(context, step, child)
        except Unreadable:
            raise
        except Exception as error:  # It is pure, so another try would raise the same.
            because = f"its child failed: {reason(context, drive, error)}"
            self._signal(drive, e.RefusedBy(step, 1, because), step)
            return
        drive.busy.add(step)
        now = context.environment.now()
        context.home.submit(StartChildTurn(drive, step, definition, input, now, self._begun))

    def look_at(self, drive: Drive, command: Command) -> None:
        """Look at a child, and let its parent hear what there is to hear."""
        place = (drive, command.step)
        if place in self._looks:
            self._again.add(place)  # What it was called for may come after what is being read.
        elif command.step not in drive.busy:
            drive.busy.add(command.step)
            self._looks[place] = self._loop.create_task(self._look(drive, command))

    async def _look(self, drive: Drive, command: Command) -> None:
        place = (drive, command.step)
        try:
            head, child = await self._seen(command.child)
        except Exception as error:
            self._leave(place)
            self._settled(drive, error)
            return
        is_called = self._leave(place)
        if not self._is_in_hand(drive):
            return
        if command not in drive.commands:
            self._advance(drive)
        elif is_called:
            self.look_at(drive, command)
        else:
            self._tell(drive, command, head, child)

    async def _seen(self, id: TransactionId) -> tuple[Head | None, SagaState | None]:
        """Return a child's head, if it has begun, and its state, if it has ended."""
        context = self._context
        head = await context.home.find(id)
        if head is None or not head.has_ended:
            return head, None
        told = [recorded.event for recorded in await context.home.load(head.key)]
        return head, replay(await context.graph_of(head.kind, head.definition), told)

    def _leave(self, place: Place) -> bool:
        """End a look; return whether another was asked for meanwhile."""
        drive, step = place
        drive.busy.discard(step)
        del self._looks[place]
        is_called = place in self._again
        self._again.discard(place)
        return is_called

    def _tell(self, drive: Drive, command: Command, head: Head | None, child: SagaState | None) -> None:
        step = command.step
        signal = child and heard_of_child(step, child, drive.state.branches[step].status)
        if signal:
            self._signal(drive, signal, step)
            return
        if head is not None and isinstance(command, e.UndoChild):
            self._undo(drive, step, head)
        if not drive.busy:
            self._rest(drive)

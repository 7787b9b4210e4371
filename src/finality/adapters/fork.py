"""Keeps a child process away from what its parent had open when it forked.

A child has the memory of its parent, and neither its threads nor its locks: a turn that it
queued would wait for ever, and a connection that it closed could harm the parent's file.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class KeptOut(Protocol):
    """Something that is of no use in a forked child."""

    def keep_out(self) -> None:
        """Refuse every use from now on, with an error that says why."""


_known: weakref.WeakSet[KeptOut] = weakref.WeakSet()
_kept: list[KeptOut] = []  # So that no destructor runs in the child.


def keep_out_of_children(thing: KeptOut) -> None:
    """See that *thing* is kept out of every child that is forked from now on."""
    _known.add(thing)


def _keep_out() -> None:
    for thing in list(_known):
        thing.keep_out()
        _kept.append(thing)


os.register_at_fork(after_in_child=_keep_out)

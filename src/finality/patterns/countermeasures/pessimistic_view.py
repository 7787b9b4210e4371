"""Pessimistic view: order the steps so that nobody sees more of a resource than there will be.

```
    what lowers it   compensatable ──┐                     early, so that others see less at once
                                     ├─ pivot ─┐
    what raises it                   │         └ retriable  late, so that nothing can take it back
```

If a step that raises what is available could still be undone, another saga could use in between
what then is taken away again: a dirty read, with real goods. So the declaration is checked when
the class is created.
"""

from __future__ import annotations

from finality.core.errors import DefinitionError
from finality.core.saga import Kind


def check_view(
    saga: str, step: str, kind: Kind, *, raises: str | None, lowers: str | None, has_undo: bool
) -> None:
    """See that a step which raises or lowers the availability of something stands where it may.

    Raises:
        DefinitionError: Another saga could use what is not there to stay.
    """
    if raises is not None and kind is Kind.COMPENSATABLE:
        raise DefinitionError(
            f"step {step!r} of {saga} raises {raises!r} and can still be undone: another saga could use what "
            "then is taken away again (a dirty read); let it need the pivot, or make it the pivot"
        )
    if lowers is not None and kind is Kind.RETRIABLE:
        raise DefinitionError(
            f"step {step!r} of {saga} lowers {lowers!r} behind the pivot: until then others see more than "
            "there will be, and it cannot be refused when there is not enough; let it come before the pivot"
        )
    if lowers is not None and kind is Kind.COMPENSATABLE and not has_undo:
        raise DefinitionError(
            f"step {step!r} of {saga} lowers {lowers!r} and has no compensation: it would stay lowered when "
            "the saga is undone; give it one, or make it the pivot"
        )

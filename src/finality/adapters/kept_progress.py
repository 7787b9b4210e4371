"""A group's progress as a short text, for brokers that keep a text a partition and no more.

It says up to where the group was given everything, and which of that it has not done yet:
``"17 12 15"`` is all up to 17, but for 12 and 15.
"""

from __future__ import annotations

import math

from finality.adapters.progress import Later, Progress

NOT_DONE_MAX = 200  # With positions of 19 digits that is 4,000 characters; Kafka keeps 4,096.


def text_of(progress: Progress) -> str:
    """Return *progress* as text; what is behind ``NOT_DONE_MAX`` that are not done is given again."""
    read_to = progress.read_to
    not_done = sorted({*progress.in_hand, *progress.later})
    if len(not_done) > NOT_DONE_MAX:
        read_to = not_done[NOT_DONE_MAX] - 1
        del not_done[NOT_DONE_MAX:]
    return " ".join(map(str, (read_to, *not_done)))


def progress_of(text: str) -> Progress:
    """Return the progress that *text* says; what is not done is due as soon as it is read again.

    Raises:
        ValueError: Somebody else wrote it.
    """
    read_to, *not_done = map(int, text.split())
    return Progress(read_to, later={position: Later(math.inf, 0) for position in not_done})

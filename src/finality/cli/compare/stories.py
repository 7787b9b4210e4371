"""Every story, by its name."""

from __future__ import annotations

from finality.cli.compare.withdraw.story import WITHDRAW

STORIES = {story.name: story for story in (WITHDRAW,)}

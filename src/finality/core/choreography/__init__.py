"""A choreographed saga: services that react to each other's events, and nobody who conducts them.

Source: Microservices Patterns, C. Richardson, 2018, chapter 4; Sagas, H. Garcia-Molina and K. Salem, 1987.
"""

from finality.core.choreography.explain import explain_run
from finality.core.choreography.run import (
    DEFINITION,
    NEW,
    Arrived,
    AwaitWord,
    ChoreographyEvent,
    Completed,
    DeadlineCame,
    Expired,
    Overdue,
    RunState,
    Seen,
    Undone,
    decide,
    evolve,
    outstanding,
    summary_of,
)
from finality.core.choreography.shape import Part, Shape, mistakes

__all__ = [
    "DEFINITION",
    "NEW",
    "Arrived",
    "AwaitWord",
    "ChoreographyEvent",
    "Completed",
    "DeadlineCame",
    "Expired",
    "Overdue",
    "Part",
    "RunState",
    "Seen",
    "Shape",
    "Undone",
    "decide",
    "evolve",
    "explain_run",
    "mistakes",
    "outstanding",
    "summary_of",
]

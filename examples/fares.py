"""A travel agency asks an airline what a flight costs, and offers the train if it does not hear in time.

```
    agency ── GetFare, within a second ──▶ airline
       ◀────── Fare · Refused ─────────────┘
       └─ neither came in time: the train, for ever
```

Watch the third city: the airline is away, so its question waits at the broker until nobody awaits the
answer any more; when the airline is back, it is not answered. Run it again, and everything is as it was:
the questions have their ids, and are not asked twice.

    python examples/fares.py
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from datetime import timedelta

import finality

LONG, SHORT = timedelta(seconds=20), timedelta(seconds=0.5)
TRAIN_DOLLARS = 90


@dataclass(frozen=True)
class GetFare:
    city: str
    people: int


@dataclass(frozen=True)
class Fare:
    city: str
    dollars: int


REQUESTS = {"fares": {GetFare: Fare}}  # What `finality asyncapi examples/fares.py` tells of the agency.


# ── The airline ─────────────────────────────────────────────────────────────────────────────


@finality.react("fares", by="airline")
def fare(tx: finality.SyncTx, asked: GetFare) -> Fare:
    """Say what it costs, and keep that it was said."""
    if asked.people > 100:
        raise finality.Refused("the plane is too small")
    tx.execute("INSERT INTO told VALUES (?)", asked.city)
    return Fare(asked.city, 120 * asked.people)


def airline() -> finality.Node:
    """Open the airline: a service of its own, with its own home."""
    return finality.open("sqlite:///airline.db", broker="sqlite:///travel.db", reactions=[fare])


# ── The agency ──────────────────────────────────────────────────────────────────────────────


def offer(agency: finality.Node, city: str, people: int, within: timedelta = LONG) -> str:
    """Offer a plane if the airline says its price in time, and a train otherwise."""
    train = f"{city}: by train for ${TRAIN_DOLLARS * people}"
    try:
        asked = GetFare(city, people)
        told = agency.request("fares", asked, answer=Fare, within=within, key="fares", id=f"fare-{city}")
    except finality.Refused as refused:
        return f"{train}: {refused.because}"
    except finality.DeadlinePassed:
        return f"{train}: the airline did not say in time"
    return f"{city}: by plane for ${told.dollars}"


def main() -> None:
    """Offer four trips; the airline is away while the third one is asked for."""
    logging.basicConfig(stream=sys.stdout, format="log: %(message)s")
    with finality.open("sqlite:///agency.db", broker="sqlite:///travel.db") as agency:
        with airline() as open_airline:
            open_airline.run(lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS told (city TEXT)"))
            print(offer(agency, "Oslo", 2))
            print(offer(agency, "Lima", 500))
        print(offer(agency, "Rome", 3, within=SHORT))
        with airline() as open_airline:
            print(offer(agency, "Bern", 1))  # Behind the one to Rome: they have one key.
            print("the airline has told:", [city for (city,) in open_airline.query("SELECT city FROM told")])
        print(agency.explain("fare-Rome"))


if __name__ == "__main__":
    main()

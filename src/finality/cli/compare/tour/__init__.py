"""A tour, booked by services that react to each other's events, and by a saga that conducts them.

```
    rules          what a hotel, an airline, a car rental and a bank do: once, for both
    choreography   ── service: a process for each of them, and a broker between
    orchestration  ── one node, and a store for each of them
    telling        good tours, a full plane, a late approval, and a service that hangs
```
"""

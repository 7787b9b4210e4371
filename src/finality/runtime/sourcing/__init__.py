"""Event sourcing at work: from streams of facts to aggregates, and from events to facts."""

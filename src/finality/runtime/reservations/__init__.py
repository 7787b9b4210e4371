"""Reservations in a store: their rows, the code that is asked, and the participant that they are."""

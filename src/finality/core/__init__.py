"""The pure heart: protocols as functions over events, with no door to the outside world."""

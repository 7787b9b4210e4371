"""Runs one business case as each pattern, side by side, and measures what they differ in."""

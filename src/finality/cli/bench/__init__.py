"""Measures Finality against what the same disk and the same Python could do without it."""

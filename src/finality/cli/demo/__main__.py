"""Runs the demo as ``python -m finality.cli.demo``."""

from finality.cli.demo.command import demo

demo(prog_name="finality demo")

"""``python -m finality.cli``: the command line where its script is not on the path."""

from finality.cli import main

main()

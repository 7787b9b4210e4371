"""One folder per technology, one file per port that it fulfils. Adapters do not know each other."""

"""The demo: a bank whose nodes are killed while it works, and whose books balance all the same."""

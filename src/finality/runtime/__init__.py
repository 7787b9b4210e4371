"""The two loops and what feeds them."""

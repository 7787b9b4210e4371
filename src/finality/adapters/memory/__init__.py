"""Memory: a home that is gone with its process, for tests and simulations."""

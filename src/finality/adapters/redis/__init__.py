"""Redis and Valkey, through redis-py: a stream for each partition of a topic."""

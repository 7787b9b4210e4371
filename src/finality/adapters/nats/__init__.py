"""NATS JetStream, through nats-py: a stream for each topic, a consumer for each group and partition."""

"""RabbitMQ, through aio-pika: a stream for each partition of a topic, and one for each group's progress."""

"""psycopg connections, asynchronous and not, as branches."""

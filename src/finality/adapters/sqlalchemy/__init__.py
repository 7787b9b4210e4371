"""SQLAlchemy sessions, asynchronous and not, as branches."""

"""JSON by msgspec: the codec, its sealed secrets, and graphs for nodes without the class."""

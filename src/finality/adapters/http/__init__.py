"""Services over HTTP: the words of the protocol, and the participant that speaks them through aiohttp."""

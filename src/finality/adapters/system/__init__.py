"""The real world: the operating system's clock, chance and threads."""

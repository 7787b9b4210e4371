"""What the outside must offer, as protocols with a promise in each docstring."""

"""FastStream: its subscribers, with our inbox around them."""

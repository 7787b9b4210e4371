"""Measures Finality beside the closest peers: the same work, the same server, in turns."""

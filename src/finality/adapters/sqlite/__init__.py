"""SQLite: the embedded default, through apsw, with group commit."""

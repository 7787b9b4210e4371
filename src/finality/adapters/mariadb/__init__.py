"""MariaDB, through asyncmy; MySQL where it behaves alike."""

"""Files: written whole or not at all, one writer at a time, tables, and the user's own folders."""

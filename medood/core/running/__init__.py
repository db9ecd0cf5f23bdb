"""How this program runs: its start and its end, its memory, and other processes beside it."""

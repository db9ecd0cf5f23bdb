"""One task a command: the only place where the parts meet."""

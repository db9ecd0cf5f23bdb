"""What there is, and what this installation can do."""

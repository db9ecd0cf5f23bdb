"""A run as a file that gives the same answers without medood."""

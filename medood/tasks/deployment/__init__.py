"""What was found, and runs themselves, for other systems."""
